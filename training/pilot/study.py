"""The pilot study: NoAug and AlwaysAug compared dataset by dataset on development data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model.checkpoint import MANIFEST, read_manifest
from model.types import Route
from training.evaluation import Selection
from training.mmeb import EvaluationRow
from training.pilot.comparison import Hits, compare, forced_hits
from training.pilot.measuring import file_hashes, opened
from training.pilot.split import Study
from training.provenance import file_sha256

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class StudySettings:
    """What is compared: a split of the data folder, and with how many resamples.

    The default split is the calibration data, which a later evaluation does not score: labels chosen on the
    scored queries would flatter the scores. `stands_for` maps a development subset to the training dataset
    whose queries it evaluates, where their names differ.
    """

    data: Path
    cache: Path
    split: str = "calibration"
    selection: Selection = field(default_factory=Selection)
    stands_for: Mapping[str, str] = field(default_factory=dict)
    resamples: int = 10_000
    seed: int = 0
    device: str = "auto"


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
    subsets = settings.selection.read(settings.data, settings.split)
    rows = _renamed(subsets, settings.stands_for)
    models = {"no_aug": _checkpoint_facts(no_aug), "always_aug": _checkpoint_facts(always_aug)}
    hits: dict[Route, dict[str, Hits]] = {}
    for checkpoint, route in ((no_aug, Route.EMBED), (always_aug, Route.AUGMENT)):
        report(f"Measuring {checkpoint} with /{route.value}")
        with opened(checkpoint, settings.cache, settings.device, report) as engine:
            hits[route] = forced_hits(engine, route, rows, settings.data / "images")
    comparisons, mean = compare(hits[Route.EMBED], hits[Route.AUGMENT], settings.resamples, settings.seed)
    files = {name: settings.data / settings.split / f"{name}.parquet" for name in subsets}
    measured = {
        "split": settings.split,
        "stands_for": dict(settings.stands_for),
        "limit": settings.selection.limit,
        "resamples": settings.resamples,
        "seed": settings.seed,
        "interval": 0.95,
        "development_data": file_hashes(files),
    }
    return Study(comparisons, mean, sorted(trained), {**models, **measured})


def _checkpoint_facts(checkpoint: Path) -> dict[str, str]:
    return {"name": read_manifest(checkpoint).name, "manifest_sha256": file_sha256(checkpoint / MANIFEST)}


def _renamed(
    subsets: Mapping[str, list[EvaluationRow]], stands_for: Mapping[str, str]
) -> dict[str, list[EvaluationRow]]:
    """The subsets under the names of the datasets that they stand for."""
    if unknown := sorted(set(stands_for) - set(subsets)):
        raise ValueError(f"No development subset {', '.join(unknown)}. There are: {', '.join(subsets)}.")
    names = [stands_for.get(name, name) for name in subsets]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"Several development subsets stand for {', '.join(twice)}; choose one of them.")
    return dict(zip(names, subsets.values(), strict=True))
