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

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

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
    """Read a training subset; columns that a file lacks stay empty. Raises ValueError without a query."""
    return [_training_row(path, number, values) for number, values in _records(path)]


def read_evaluation_rows(path: Path) -> list[EvaluationRow]:
    """Read an evaluation subset. Raises ValueError for a row without a query or candidates."""
    return [_evaluation_row(path, number, values) for number, values in _records(path)]


def _records(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    yield from enumerate(pq.read_table(path).to_pylist())


def _training_row(path: Path, number: int, values: dict[str, object]) -> TrainingRow:
    first, *more = _negatives(path, number, values) or [HardNegative()]
    names = [name for name in TrainingRow.__dataclass_fields__ if name != "more_negatives"]
    texts = {name: str(values.get(name) or "") for name in names}
    texts |= {"neg_text": first.text, "neg_image_path": first.image_path, "neg_key": first.key}
    row = TrainingRow(**texts, more_negatives=tuple(more))
    if row.route not in ("", "augment", "embed"):
        raise ValueError(f"{path} row {number}: route is '{row.route}'; write 'augment', 'embed' or nothing.")
    if not (row.qry or row.qry_image_path) or not (row.pos_text or row.pos_image_path):
        raise ValueError(f"{path} row {number}: a training row needs a query and a positive document.")
    return row


def _negatives(path: Path, number: int, values: dict[str, object]) -> list[HardNegative]:
    columns = [_strings(values.get(name)) for name in ("neg_text", "neg_image_path", "neg_key")]
    count = max(map(len, columns))
    if any(column and len(column) != count for column in columns):
        raise ValueError(f"{path} row {number}: the neg_* columns differ in length; make them equal.")
    texts, images, keys = (column or [""] * count for column in columns)
    return [HardNegative(*negative) for negative in zip(texts, images, keys, strict=True)]


def _evaluation_row(path: Path, number: int, values: dict[str, object]) -> EvaluationRow:
    texts, images = _strings(values.get("tgt_text")), _strings(values.get("tgt_img_path"))
    count = max(len(texts), len(images))
    if texts and images and len(texts) != len(images):
        raise ValueError(f"{path} row {number}: tgt_text and tgt_img_path differ in length; make them equal.")
    if count == 0 or not (values.get("qry_text") or values.get("qry_img_path")):
        raise ValueError(f"{path} row {number}: an evaluation row needs a query and candidates.")
    return EvaluationRow(
        qry_text=str(values.get("qry_text") or ""),
        qry_img_path=str(values.get("qry_img_path") or ""),
        tgt_text=texts or [""] * count,
        tgt_img_path=images or [""] * count,
        augmentation=str(values.get("augmentation") or ""),
    )


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [str(entry or "") for entry in value] if isinstance(value, list) else []
