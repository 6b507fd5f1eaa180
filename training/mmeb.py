"""MMEB's row format on disk, for training and for evaluation.

Training rows (`TIGER-Lab/MMEB-train`, one subset a dataset) and evaluation rows (`TIGER-Lab/MMEB-eval`)
are Parquet files with the columns below; an empty string means "none", `<|image_1|>` marks the image in a
text, and image paths are relative to an image root. Columns of ours are optional: `augmentation` (an answer
to the query), `route` ("augment" or "embed", what the query is to learn; empty: "augment" where there is an
augmentation), `pos_key` and `neg_key` (what the positive and the negative are, "laptop" say: a document with
a positive's key is never that query's negative). The three `neg_*` columns may hold lists, of one length:
several hard negatives, the one to prefer first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

IMAGE_MARKER = "<|image_1|>"


@dataclass(frozen=True, slots=True)
class HardNegative:
    """A document that resembles the positive and is wrong; empty strings mean "none"."""

    text: str = ""
    image_path: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One query with its positive and its hard negatives; empty strings mean "none"."""

    qry: str
    qry_image_path: str = ""
    pos_text: str = ""
    pos_image_path: str = ""
    neg_text: str = ""
    neg_image_path: str = ""
    augmentation: str = ""
    pos_key: str = ""
    neg_key: str = ""
    route: str = ""
    more_negatives: tuple[HardNegative, ...] = ()

    @property
    def hard_negatives(self) -> tuple[HardNegative, ...]:
        """All hard negatives, the one to prefer first."""
        first = HardNegative(self.neg_text, self.neg_image_path, self.neg_key)
        return tuple(n for n in (first, *self.more_negatives) if n.text or n.image_path)


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """One query with its candidates; the first candidate is the right one."""

    qry_text: str
    qry_img_path: str = ""
    tgt_text: list[str] = field(default_factory=list)
    tgt_img_path: list[str] = field(default_factory=list)
    augmentation: str = ""


Row = TypeVar("Row", TrainingRow, EvaluationRow)


def strip_image_marker(text: str) -> str:
    """Take MMEB's image marker out of a text; the prompt puts the image in its own place."""
    return text.replace(IMAGE_MARKER, "").strip()


def write_rows(path: Path, rows: Sequence[TrainingRow] | Sequence[EvaluationRow]) -> None:
    """Write rows as one Parquet file, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    lists = any(isinstance(row, TrainingRow) and row.more_negatives for row in rows)
    pq.write_table(pa.Table.from_pylist([_record(row, lists) for row in rows]), partial, compression="zstd")
    partial.replace(path)


def _record(row: TrainingRow | EvaluationRow, lists: bool) -> dict[str, object]:
    """A row's columns; with `lists` the negatives' columns hold lists."""
    columns = asdict(row)
    if isinstance(row, TrainingRow):
        del columns["more_negatives"]
        if lists:
            negatives = row.hard_negatives
            columns["neg_text"] = [negative.text for negative in negatives]
            columns["neg_image_path"] = [negative.image_path for negative in negatives]
            columns["neg_key"] = [negative.key for negative in negatives]
    return columns


def read_training_rows(path: Path) -> list[TrainingRow]:
    """Read a training subset of our own making; columns that a file lacks stay empty.

    Raises ValueError that names the file and the row for the first bad row; `training.subsets` streams
    files of others' making and skips their bad rows by name.
    """
    return [_named(parse_training_row, path, number, values) for number, values in _records(path)]


def read_evaluation_rows(path: Path) -> list[EvaluationRow]:
    """Read an evaluation subset of our own making; raises ValueError for a bad row, as above."""
    return [_named(parse_evaluation_row, path, number, values) for number, values in _records(path)]


def _records(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    yield from enumerate(pq.read_table(path).to_pylist())


def _named(parse: Callable[[Mapping[str, object]], Row], path: Path, number: int, values: dict) -> Row:
    try:
        return parse(values)
    except ValueError as error:
        raise ValueError(f"{path} row {number}: {error}") from error


def parse_training_row(values: Mapping[str, object]) -> TrainingRow:
    """A training row from its columns. Raises ValueError with the reason why it is none."""
    first, *more = _negatives(values) or [HardNegative()]
    names = ("qry", "qry_image_path", "pos_text", "pos_image_path", "augmentation", "pos_key", "route")
    texts = {name: _text(values, name) for name in names}
    texts |= {"neg_text": first.text, "neg_image_path": first.image_path, "neg_key": first.key}
    row = TrainingRow(**texts, more_negatives=tuple(more))
    if row.route not in ("", "augment", "embed"):
        raise ValueError(f"route is '{row.route}'; write 'augment', 'embed' or nothing.")
    if not (row.qry or row.qry_image_path) or not (row.pos_text or row.pos_image_path):
        raise ValueError("a training row needs a query and a positive document.")
    _require_marked_image("the query", row.qry, row.qry_image_path)
    _require_marked_image("the positive", row.pos_text, row.pos_image_path)
    return row


def _negatives(values: Mapping[str, object]) -> list[HardNegative]:
    columns = [_texts(values, name) for name in ("neg_text", "neg_image_path", "neg_key")]
    count = max(map(len, columns))
    if any(column and len(column) != count for column in columns):
        raise ValueError("the neg_* columns differ in length; make them equal.")
    texts, images, keys = (column or [""] * count for column in columns)
    return [HardNegative(*negative) for negative in zip(texts, images, keys, strict=True)]


def parse_evaluation_row(values: Mapping[str, object]) -> EvaluationRow:
    """An evaluation row from its columns. Raises ValueError with the reason why it is none.

    Where the candidates are images alone, MMEB-eval writes `tgt_text` as one string, which then goes with
    every image.
    """
    texts, images = _texts(values, "tgt_text"), _texts(values, "tgt_img_path")
    count = max(len(texts), len(images))
    texts = _for_every_candidate(values, "tgt_text", texts, count)
    images = _for_every_candidate(values, "tgt_img_path", images, count)
    if len(texts) != len(images):
        raise ValueError("tgt_text and tgt_img_path differ in length; make them equal.")
    query, image = _text(values, "qry_text"), _text(values, "qry_img_path")
    if count == 0 or not (query or image):
        raise ValueError("an evaluation row needs a query and candidates.")
    if not (texts[0] or images[0]):
        raise ValueError("the first candidate, the right one, is empty.")
    _require_marked_image("the query", query, image)
    for number, (text, path) in enumerate(zip(texts, images, strict=True)):
        _require_marked_image(f"candidate {number}", text, path)
    return EvaluationRow(query, image, texts, images, _text(values, "augmentation"))


def _for_every_candidate(values: Mapping[str, object], name: str, found: list[str], count: int) -> list[str]:
    """One string for all candidates, or none at all, becomes one for each; a list stays what it is."""
    return (found or [""]) * count if isinstance(values.get(name) or "", str) or not found else found


def _require_marked_image(what: str, text: str, image_path: str) -> None:
    if IMAGE_MARKER in text and not image_path:
        raise ValueError(f"{what} has the image marker {IMAGE_MARKER} but no image path.")


def _text(values: Mapping[str, object], name: str) -> str:
    value = values.get(name)
    if value is None or isinstance(value, str):
        return value or ""
    raise ValueError(f"{name} holds {type(value).__name__}; it must be a text.")


def _texts(values: Mapping[str, object], name: str) -> list[str]:
    """A column that holds a text, or a list of texts."""
    value = values.get(name)
    if not isinstance(value, list):
        text = _text(values, name)
        return [] if value is None else [text]
    if not all(entry is None or isinstance(entry, str) for entry in value):
        raise ValueError(f"{name} must be a list of texts.")
    return [entry or "" for entry in value]
