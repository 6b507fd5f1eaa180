"""Streams MMEB's subsets as they lie on disk or on the hub, and accounts for every row that it skips.

On the hub a subset is a folder of Parquet shards named after their split:

    TIGER-Lab/MMEB-train/<subset>/original-00000-of-00001.parquet
    TIGER-Lab/MMEB-train/<subset>/diverse_instruction-00000-of-00001.parquet
    TIGER-Lab/MMEB-eval/<subset>/test-00000-of-00001.parquet

(the splits as VLM2Vec's README and loaders have them). The image archives beside them are unpacked to an
image root; paths in the rows (`images/A-OKVQA/Train/....jpg`, `A-OKVQA/....jpg`) are relative to it. A source
here is such a folder, one of its files, or one JSON row a line (`.jsonl`), at a path or at any address that
fsspec opens: `hf://datasets/TIGER-Lab/MMEB-eval/OK-VQA` reads the hub without downloading the whole file.
Images are read from a local root in any case.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from training.mmeb import EvaluationRow, Row, TrainingRow, parse_evaluation_row, parse_training_row

BATCH = 256  # rows decoded at once; an MMEB-eval row holds up to 1,000 candidates
TRAINING_COLUMNS = (
    *("qry", "qry_image_path", "pos_text", "pos_image_path", "neg_text", "neg_image_path"),
    *("augmentation", "route", "pos_key", "neg_key"),
)
EVALUATION_COLUMNS = ("qry_text", "qry_img_path", "tgt_text", "tgt_img_path", "augmentation")
_SHARD = re.compile(r"(?P<split>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.parquet")

Record = tuple[int, Mapping[str, object] | str]  # a row's number, and its columns or why it cannot be read


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that was skipped: its file, its number in the file (from 0) and the reason."""

    file: str
    row: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file} row {self.row}: {self.reason}"


@dataclass(slots=True)
class Account:
    """What a reading came to: good rows by file, and every bad one by name."""

    good: Counter[str] = field(default_factory=Counter)
    bad: list[BadRow] = field(default_factory=list)

    def summary(self) -> str:
        """One line of counts: rows read and skipped, and files."""
        files = set(self.good) | {row.file for row in self.bad}
        return f"{self.good.total()} rows read, {len(self.bad)} bad ones skipped, in {len(files)} files"


@dataclass(frozen=True, slots=True)
class ImageRoot:
    """The folder that the rows' image paths are relative to."""

    folder: Path

    def fault(self, image_path: str) -> str | None:
        """Why this image cannot be used, or None."""
        parts = PurePosixPath(image_path)
        if parts.is_absolute() or ".." in parts.parts:
            return f"the image path {image_path} leads out of the image root."
        if not (self.folder / parts).is_file():
            return f"the image {image_path} is not in {self.folder}."
        return None


def training_rows(
    source: str | Path, account: Account, images: ImageRoot | None = None, split: str = ""
) -> Iterator[TrainingRow]:
    """The training rows of a subset, a batch in memory at a time; bad ones go to `account` and are skipped.

    With `images`, a row that names an image which is not there is bad. Raises ValueError for a source
    without files, with several splits and none chosen, with a shard missing, or for a file that is broken
    or lacks MMEB's columns.
    """
    required = ("qry", "pos_text", "pos_image_path")
    yield from _rows(source, split, TRAINING_COLUMNS, required, parse_training_row, account, images)


def evaluation_rows(
    source: str | Path, account: Account, images: ImageRoot | None = None, split: str = ""
) -> Iterator[EvaluationRow]:
    """The evaluation rows of a subset, streamed and accounted for as `training_rows` are."""
    required = ("qry_text", "tgt_text", "tgt_img_path")
    yield from _rows(source, split, EVALUATION_COLUMNS, required, parse_evaluation_row, account, images)


def _rows(
    source: str | Path,
    split: str,
    columns: tuple[str, ...],
    required: tuple[str, ...],
    parse: Callable[[Mapping[str, object]], Row],
    account: Account,
    images: ImageRoot | None,
) -> Iterator[Row]:
    system, files = subset_files(source, split)
    for file in files:
        for number, record in _records(system, file, columns, required):
            try:
                if isinstance(record, str):
                    raise ValueError(record)
                row = parse(record)
                _require_images(row, images)
            except ValueError as error:
                account.bad.append(BadRow(file, number, str(error)))
            else:
                account.good[file] += 1
                yield row


def subset_files(source: str | Path, split: str = "") -> tuple[AbstractFileSystem, list[str]]:
    """A source's file system and files, in order. Raises ValueError as `training_rows` says."""
    system, place = url_to_fs(str(source))
    if system.isfile(place):
        return system, [place]
    found = system.ls(place, detail=False) if system.isdir(place) else []
    files = sorted(file for file in found if file.endswith((".parquet", ".jsonl")))
    by_split: dict[str, list[str]] = {}
    for file in files:
        by_split.setdefault(_split_of(file), []).append(file)
    if split:
        by_split = {split: by_split.get(split, [])}
    if not any(by_split.values()):
        wanted = f" of the split '{split}'" if split else ""
        raise ValueError(f"{source} has no .parquet or .jsonl files{wanted}; give a subset's folder or file.")
    if len(by_split) > 1:
        raise ValueError(f"{source} has the splits {', '.join(sorted(by_split))}; choose one.")
    [(_, files)] = by_split.items()
    _require_all_shards(files)
    return system, files


def _split_of(file: str) -> str:
    name = PurePosixPath(file).name
    shard = _SHARD.fullmatch(name)
    return shard["split"] if shard else name.rpartition(".")[0]


def _require_all_shards(files: list[str]) -> None:
    shards = [shard for file in files if (shard := _SHARD.fullmatch(PurePosixPath(file).name))]
    count = max((int(shard["count"]) for shard in shards), default=0)
    missing = set(range(count)) - {int(shard["number"]) for shard in shards}
    if missing:
        numbers = ", ".join(map(str, sorted(missing)))
        raise ValueError(f"Of the {count} shards beside {files[0]}, number {numbers} is missing; fetch it.")


def _records(
    system: AbstractFileSystem, file: str, columns: tuple[str, ...], required: tuple[str, ...]
) -> Iterator[Record]:
    with system.open(file, "rb") as opened:
        if file.endswith(".jsonl"):
            yield from enumerate(_json_object(line) for line in opened)
            return
        try:
            parquet = pq.ParquetFile(opened)
            names = parquet.schema_arrow.names
            if not set(names) & set(required[1:]) or required[0] not in names:
                raise ValueError(f"{file} lacks MMEB's columns ({', '.join(required)}); it has {names}.")
            wanted = [name for name in columns if name in names]
            number = 0
            for batch in parquet.iter_batches(BATCH, columns=wanted):
                for values in batch.to_pylist():
                    yield number, values
                    number += 1
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{file} cannot be read to its end; fetch it again: {error}") from error


def _json_object(line: bytes) -> Mapping[str, object] | str:
    try:
        values = json.loads(line)
    except ValueError as error:
        return f"the line is not JSON: {error}"
    return values if isinstance(values, dict) else "the line is not a JSON object."


def _require_images(row: TrainingRow | EvaluationRow, images: ImageRoot | None) -> None:
    if images is None:
        return
    if isinstance(row, TrainingRow):
        negatives = [negative.image_path for negative in row.hard_negatives]
        paths = [row.qry_image_path, row.pos_image_path, *negatives]
    else:
        paths = [row.qry_img_path, *row.tgt_img_path]
    for path in dict.fromkeys(paths):
        fault = images.fault(path) if path else None
        if fault:
            raise ValueError(fault)
