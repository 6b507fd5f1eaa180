"""From a data folder and a teacher to a data folder with augmentations, and a report on both."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from training.annotation import (
    TRAIN,
    link_rest,
    read_rows,
    text_column,
    training_files,
    with_column,
    write_table,
)
from training.mmeb import strip_image_marker
from training.teacher.answers import Advance, Answer, Teacher
from training.teacher.quality import Quality, measure_quality
from training.teacher.truth import bare_answer

COLUMN = "augmentation"
REPORT = "synthesis.json"

Progress = Callable[[str, int], Advance]  # told what begins and of how many rows


@dataclass(frozen=True, slots=True)
class SynthesisSettings:
    """What is augmented, and where the new data folder goes.

    `split` chooses among the splits of MMEB's folders. With `keep_existing` rows that have an augmentation
    are not asked about again. `limit` takes only the first rows of each file, for a trial.
    `positive_is_answer` names datasets whose positives are answers, to compare with. Prices are of a million
    tokens.
    """

    data: Path
    output: Path
    datasets: tuple[str, ...]
    split: str = ""
    keep_existing: bool = False
    limit: int | None = None
    positive_is_answer: Collection[str] = ()
    prompt_price: float | None = None
    completion_price: float | None = None


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A row without an augmentation, and why; `file` is below train/."""

    file: str
    row: int
    query: str
    problem: str


@dataclass(slots=True)
class SynthesisReport:
    """The run's account, as it lies in the output folder; `quality` is by file."""

    teacher: dict[str, Any]
    quality: dict[str, Quality] = field(default_factory=dict)
    unanswered: list[Unanswered] = field(default_factory=list)
    cost: dict[str, Any] = field(default_factory=dict)


def synthesize(teacher: Teacher, settings: SynthesisSettings, progress: Progress) -> SynthesisReport:
    """Write every dataset with its `augmentation` column, then the report.

    Files are written one by one, each atomically: after an interruption those that were finished are there,
    and the teacher's cache has the rest. Raises ValueError for a dataset that is missing, and for an output
    that would lose rows (`limit` into the data folder itself).
    """
    if settings.limit is not None and settings.output.resolve() == settings.data.resolve():
        raise ValueError("--limit would cut the data folder's own files; give another --output.")
    files = [
        (name, path)
        for name in settings.datasets
        for path in training_files(settings.data, name, settings.split)
    ]
    report = SynthesisReport(teacher.facts)
    for name, path in files:
        _augment(name, path, teacher, settings, progress, report)
    link_rest(settings.data, settings.output, settings.datasets)
    report.cost = _cost(teacher, settings)
    partial = settings.output / f"{REPORT}.partial"
    partial.write_text(json.dumps(asdict(report), indent=2, ensure_ascii=False) + "\n", "utf-8")
    partial.replace(settings.output / REPORT)
    return report


def _augment(
    dataset: str,
    path: Path,
    teacher: Teacher,
    settings: SynthesisSettings,
    progress: Progress,
    report: SynthesisReport,
) -> None:
    """Write one file with its answers and add it to the report."""
    place = path.relative_to(settings.data / TRAIN)
    table = pq.read_table(path).slice(0, settings.limit)
    answers = _answers(dataset, table, teacher, settings.keep_existing, lambda n: progress(str(place), n))
    texts = [answer.text for answer in answers]
    facts = teacher.facts | ({"kept_existing": True} if settings.keep_existing else {})
    write_table(settings.output / TRAIN / place, with_column(table, COLUMN, texts, facts))
    queries = [strip_image_marker(query) for query in text_column(table, "qry")]
    truths = _truths(table, dataset in settings.positive_is_answer)
    report.quality[str(place)] = measure_quality(queries, texts, truths)
    report.unanswered += [
        Unanswered(str(place), number, queries[number][:120], answer.problem)
        for number, answer in enumerate(answers)
        if not answer.text
    ]


def _answers(
    dataset: str, table: pa.Table, teacher: Teacher, keep_existing: bool, begin: Callable[[int], Advance]
) -> list[Answer]:
    """An answer for every row of the table: kept, from the teacher, or the reason why there is none."""
    rows, problems = read_rows(table)
    kept = text_column(table, COLUMN) if keep_existing else [""] * table.num_rows
    asked = [number for number in sorted(rows) if not kept[number]]
    answers = [Answer(text, problems.get(number, "")) for number, text in enumerate(kept)]
    found = teacher.answer(dataset, [rows[number] for number in asked], begin(len(asked)))
    for number, answer in zip(asked, found, strict=True):
        answers[number] = answer
    return answers


def _truths(table: pa.Table, positive_is_answer: bool) -> Sequence[str]:
    rows, _ = read_rows(table)
    return [
        bare_answer(rows[number], positive_is_answer) if number in rows else ""
        for number in range(table.num_rows)
    ]


def _cost(teacher: Teacher, settings: SynthesisSettings) -> dict[str, Any]:
    cost = asdict(teacher.cost) | {"seconds": round(teacher.cost.seconds, 2)}
    if settings.prompt_price is None or settings.completion_price is None:
        return cost
    return cost | {
        "price": round(teacher.cost.price(settings.prompt_price, settings.completion_price), 6),
        "prompt_price_per_million": settings.prompt_price,
        "completion_price_per_million": settings.completion_price,
    }
