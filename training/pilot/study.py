"""The pilot study: NoAug and AlwaysAug compared dataset by dataset on development data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model.checkpoint import MANIFEST
from model.types import Route
from training.evaluation import Selection
from training.pilot.comparison import Hits, compare, forced_hits
from training.pilot.measuring import file_facts, opened
from training.pilot.split import Study

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class StudySettings:
    """What is compared: a split of the data folder, and with how many resamples.

    The default split is the calibration data, which a later evaluation does not score: labels chosen on the
    scored queries would flatter the scores.
    """

    data: Path
    cache: Path
    split: str = "calibration"
    selection: Selection = field(default_factory=Selection)
    resamples: int = 10_000
    seed: int = 0
    device: str | None = None


def run_study(
    no_aug: Path,
    always_aug: Path,
    trained: Sequence[str],
    settings: StudySettings,
    report: Report = print,
) -> Study:
    """Measure both checkpoints and compare them. `trained` are the datasets that are to be split.

    Raises ValueError for missing development data, CheckpointError for a folder that is no checkpoint.
    """
    rows = settings.selection.read(settings.data, settings.split)
    hits: dict[Route, dict[str, Hits]] = {}
    facts = {}
    for name, checkpoint, route in (
        ("no_aug", no_aug, Route.EMBED),
        ("always_aug", always_aug, Route.AUGMENT),
    ):
        report(f"Measuring {checkpoint} with /{route.value}")
        with opened(checkpoint, settings.cache, settings.device, report) as engine:
            hits[route] = forced_hits(engine, route, rows, settings.data / "images")
        manifest = checkpoint / MANIFEST
        facts[name] = {"checkpoint": checkpoint.name, "manifest_sha256": file_facts({"": manifest})[""]}
    comparisons, mean = compare(hits[Route.EMBED], hits[Route.AUGMENT], settings.resamples, settings.seed)
    files = {name: settings.data / settings.split / f"{name}.parquet" for name in rows}
    measured = {
        "split": settings.split,
        "limit": settings.selection.limit,
        "resamples": settings.resamples,
        "seed": settings.seed,
        "interval": 0.95,
        "development_data": file_facts(files),
    }
    return Study(comparisons, mean, sorted(trained), {**facts, **measured})
