"""What a job is given, cut into portions that can be read apart from each other, here or on another machine.

A portion of JSONL or CSV is a range of bytes that begins and ends between records; of Parquet, a range of
row groups; of a folder, a list of files. Whole files are portions, too.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

IMAGES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif"})
LINES = frozenset({".jsonl", ".ndjson"})
TABLES = {".csv": ",", ".tsv": "\t"}
PARQUET = ".parquet"
MAX_CELL = 2**27  # characters; Python's own limit of 131,072 is less than an image in base64
_COUNTED_BYTES = 2**30  # counting the records of a larger text file takes too long to be worth it


@dataclass(frozen=True, slots=True)
class Portion:
    """Part of a corpus: `paths` are as they were given, relative to the folder `base`.

    `start` and `stop` (None: the end) are bytes of JSONL and CSV or row groups of Parquet; `line` is the
    number of the line at `start`.
    """

    base: str
    paths: tuple[str, ...]
    start: int = 0
    stop: int | None = None
    line: int = 1

    @property
    def file(self) -> Path:
        """Where its only file is found."""
        return Path(self.base, self.paths[0])


def whole(paths: Sequence[Path], base: Path) -> Iterator[Portion]:
    """A portion for each file, and for each image."""
    for path in paths:
        for file in _images_in(base, path) if (base / path).is_dir() else (path,):
            yield Portion(str(base), (str(file),))


def split(paths: Sequence[Path], base: Path, records: int) -> Iterator[Portion]:
    """Portions of about `records` documents each; a row group of Parquet is never divided."""
    for path in paths:
        file = base / path
        if not os.access(file, os.R_OK):
            yield Portion(str(base), (str(path),))  # reading it will say what is wrong
        elif file.is_dir():
            files = (str(image) for image in _images_in(base, path))
            while chunk := tuple(islice(files, records)):
                yield Portion(str(base), chunk)
        elif path.suffix.lower() in LINES:
            yield from _cut(base, path, _line_starts(file), records)
        elif path.suffix.lower() in TABLES:
            yield from _cut(base, path, _record_starts(file), records)
        elif path.suffix.lower() == PARQUET:
            yield from _row_groups(base, path, records)
        else:
            yield Portion(str(base), (str(path),))


def count(paths: Sequence[Path], base: Path) -> int | None:
    """About how many documents there are; None where counting them would take long, or cannot be done."""
    if not all(os.access(base / path, os.R_OK) for path in paths):
        return None
    total = 0
    for path in paths:
        file, suffix = base / path, path.suffix.lower()
        if file.is_dir():
            total += sum(1 for _ in _images_in(base, path))
        elif suffix == PARQUET:
            rows = _parquet_rows(file)
            if rows is None:
                return None
            total += rows
        elif suffix in LINES or suffix in TABLES:
            if file.stat().st_size > _COUNTED_BYTES:
                return None
            starts = _line_starts(file) if suffix in LINES else _record_starts(file)
            total += max(0, sum(1 for _ in starts) - 1)  # the last one is the end
        else:
            total += 1
    return total


def csv_records(lines: Iterable[str], delimiter: str) -> Iterator[list[str] | csv.Error]:
    """The records of CSV lines; one that cannot be read is the error in its place."""
    csv.field_size_limit(MAX_CELL)
    reader = csv.reader(lines, delimiter=delimiter)
    while True:
        try:
            yield next(reader)
        except csv.Error as error:
            yield error
        except StopIteration:
            return


def _images_in(base: Path, folder: Path) -> Iterator[Path]:
    for file in sorted((base / folder).rglob("*")):
        if file.suffix.lower() in IMAGES and file.is_file():
            yield folder / file.relative_to(base / folder)


def _cut(base: Path, path: Path, starts: Iterator[tuple[int, int]], records: int) -> Iterator[Portion]:
    """Portions between every so many record starts, which are (byte, line), the last one the end."""
    here = next(starts, (0, 1))
    while chunk := list(islice(starts, records)):
        yield Portion(str(base), (str(path),), here[0], chunk[-1][0], here[1])
        here = chunk[-1]


def _line_starts(file: Path) -> Iterator[tuple[int, int]]:
    position = 0
    yield position, 1
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=2):
            position += len(line)
            yield position, number


def _record_starts(file: Path) -> Iterator[tuple[int, int]]:
    """Where records begin behind the head of a CSV file; quoted cells may hold line breaks."""
    position, number = 0, 1

    def counted() -> Iterator[str]:
        nonlocal position, number
        for line in lines:
            position += len(line)
            number += 1
            yield line.decode("utf-8", "replace")

    with file.open("rb") as lines:
        for _ in csv_records(counted(), TABLES[file.suffix.lower()]):
            yield position, number


def _parquet_rows(file: Path) -> int | None:
    """How many documents a Parquet file holds; None where rows hold several, or it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(file)
    except (OSError, pa.ArrowException):
        return 0  # reading it will say what is wrong
    several = any(metadata.schema.column(n).path.startswith("tgt_") for n in range(metadata.num_columns))
    return None if several else int(metadata.num_rows)


def _row_groups(base: Path, path: Path, records: int) -> Iterator[Portion]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(base / path)
    except (OSError, pa.ArrowException):
        yield Portion(str(base), (str(path),))  # reading it will say what is wrong
        return
    start, rows = 0, 0
    for group in range(metadata.num_row_groups):
        rows += metadata.row_group(group).num_rows
        if rows >= records or group == metadata.num_row_groups - 1:
            yield Portion(str(base), (str(path),), start, group + 1)
            start, rows = group + 1, 0
