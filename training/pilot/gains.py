"""Each training query's own gain from augmentation, by models that were not trained on it.

    gain = margin of AlwaysAug - margin of NoAug

where a margin is the positive's similarity minus the hardest other candidate's, in the same candidate set
(`training.margins`). The training rows are cut into folds; each fold is measured with the two baselines
trained on the other folds. A model measured on its own training rows has learned their answers by heart,
and would say of every query that augmenting helps.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from model.types import Route, RouteChoice
from training.annotation import TRAIN, link_rest, read_rows, training_files, write_table
from training.margins import CANDIDATES, MarginMeter, Standing, candidate_sets, forced
from training.mmeb import TrainingRow, strip_image_marker
from training.pilot.baselines import ALWAYS_AUG, NO_AUG, BaselineRun, train_baseline
from training.pilot.measuring import file_hashes, opened
from training.pilot.split import write_json

CHUNK = 64  # queries between two signs of progress
METADATA = b"solomon.gains"

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Gain:
    """One query's margins and ranks under both baselines; `file` is below train/, `row` its number there."""

    file: str
    row: int
    fold: int
    no_aug_margin: float
    always_aug_margin: float
    no_aug_rank: int
    always_aug_rank: int

    @property
    def gain(self) -> float:
        """AlwaysAug's margin minus NoAug's."""
        return self.always_aug_margin - self.no_aug_margin


@dataclass(frozen=True, slots=True)
class GainSettings:
    """How many folds, how large the candidate sets, and the seed of both."""

    folds: int = 2
    candidates: int = CANDIDATES
    seed: int = 0

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise ValueError(f"Cross-fitting needs at least 2 folds, not {self.folds}.")
        if self.candidates < 2:
            raise ValueError(f"A margin needs at least 2 candidates, not {self.candidates}.")


def fold_of(row: TrainingRow, settings: GainSettings) -> int:
    """A row's fold, by what it is about: its picture, or else its positive.

    So one picture's queries, and one fact in several wordings, are never on both sides.
    """
    about = row.qry_image_path or row.pos_key or row.pos_image_path or strip_image_marker(row.pos_text)
    digest = hashlib.sha256(f"{settings.seed}/{about}".encode()).digest()
    return int.from_bytes(digest[:8]) % settings.folds


def measure_gains(run: BaselineRun, settings: GainSettings, output: Path, report: Report = print) -> int:
    """Train both baselines for every fold, measure every row, and write `output`; returns the row count.

    Run again, it goes on where it stopped. Raises ValueError for a run folder of another data folder or
    recipe, and for a fold that is too small.
    """
    files = {
        str(path.relative_to(run.data / TRAIN)): path
        for name in run.recipe.datasets
        for path in training_files(run.data, name, run.recipe.split)
    }
    facts = {"recipe": run.recipe.model_dump(), "files": file_hashes(files), **asdict(settings)}
    _require_same_run(run.run / "gains.json", facts)
    gains: list[Gain] = []
    for fold in range(settings.folds):
        inner = run.in_folder(run.run / f"fold-{fold}" / "data", run.run / f"fold-{fold}")
        _write_fold(run.data, inner.data, files, fold, settings)
        gains += _fold_gains(inner, files, fold, settings, run.run / "embeddings.sqlite", report)
    write_gains(output, gains, {"recipe": run.recipe.name, "files": facts["files"], **asdict(settings)})
    return len(gains)


def write_gains(path: Path, gains: Sequence[Gain], facts: dict[str, Any]) -> None:
    """Write gains as one Parquet file, with how they were made (`facts["files"]`: by file, its SHA-256)."""
    records = [asdict(one) | {"gain": one.gain} for one in sorted(gains, key=lambda one: (one.file, one.row))]
    table = pa.Table.from_pylist(records)
    write_table(path, table.replace_schema_metadata({METADATA: json.dumps(facts).encode()}))


def read_gains(path: Path) -> tuple[list[Gain], dict[str, Any]]:
    """Gains and how they were made. Raises ValueError for any other file."""
    try:
        table = pq.read_table(path)
        facts = json.loads((table.schema.metadata or {})[METADATA])
        return [Gain(**record) for record in table.drop_columns(["gain"]).to_pylist()], facts
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no gains ({error!r}); solomon pilot gains writes them.") from error


def _write_fold(data: Path, folder: Path, files: dict[str, Path], fold: int, settings: GainSettings) -> None:
    """The data folder of a fold's training: all rows that are not in the fold."""
    for place, path in files.items():
        table = pq.read_table(path)
        rows, _ = read_rows(table)
        outside = [number for number, row in rows.items() if fold_of(row, settings) != fold]
        write_table(folder / TRAIN / place, table.take(outside))
    link_rest(data, folder, {Path(place).parts[0].removesuffix(".parquet") for place in files})


def _fold_gains(
    run: BaselineRun, files: dict[str, Path], fold: int, settings: GainSettings, cache: Path, report: Report
) -> Iterator[Gain]:
    """The gains of a fold's own rows under the baselines that did not see them."""
    measured: dict[Route, list[tuple[str, int, Standing]]] = {}
    for mode, route in ((NO_AUG, Route.EMBED), (ALWAYS_AUG, Route.AUGMENT)):
        checkpoint = train_baseline(run, mode, report)
        with opened(checkpoint, cache, run.device, report) as engine:
            meter = MarginMeter(engine, run.data / "images")
            measured[route] = []
            for place, path in files.items():
                report(f"Fold {fold}: {place} with /{route.value}")
                measured[route] += _standings(meter, place, path, fold, settings, route)
    for (place, number, plain), (_, _, augmented) in zip(*measured.values(), strict=True):
        yield Gain(place, number, fold, plain.margin, augmented.margin, plain.rank, augmented.rank)


def _standings(
    meter: MarginMeter, place: str, path: Path, fold: int, settings: GainSettings, route: Route
) -> Iterator[tuple[str, int, Standing]]:
    rows, _ = read_rows(pq.read_table(path))
    inside = {number: row for number, row in rows.items() if fold_of(row, settings) == fold}
    numbers, own = list(inside), list(inside.values())
    candidates = candidate_sets(own, settings.candidates, settings.seed)
    options = forced(RouteChoice(route.value))
    for start in range(0, len(own), CHUNK):
        part = slice(start, start + CHUNK)
        found = meter.measure(meter.items(own[part]), candidates[part], options)
        for number, (standing, _) in zip(numbers[part], found, strict=True):
            yield place, number, standing


def _require_same_run(path: Path, facts: dict[str, Any]) -> None:
    """Note what a run folder is for. Raises ValueError when it is for something else."""
    stored = json.loads(json.dumps(facts))  # as it reads back
    if path.is_file() and json.loads(path.read_text("utf-8")) != stored:
        raise ValueError(
            f"{path.parent} belongs to other data, another recipe or other folds; give another --run."
        )
    write_json(path, stored)
