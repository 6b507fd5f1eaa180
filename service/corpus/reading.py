"""Portions of a corpus to documents, one at a time; what cannot be read is a `Failure` in its place."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from service.client.outcomes import Failure
from service.corpus.entries import Entry, Unreadable, make_entry
from service.corpus.mmeb import is_mmeb, mmeb_entries
from service.corpus.portions import LINES, PARQUET, TABLES, Portion, csv_records, whole
from service.corpus.rows import COLUMNS, entry_of_row, read_image

_ROWS_AT_ONCE = 64  # of Parquet, where a row may hold an image
_INT64 = range(-(2**63), 2**63)
_NUMBER_STARTS = frozenset("-0123456789")


def read_corpus(
    paths: Sequence[Path], base: Path | None = None, image_root: Path | None = None
) -> Iterator[Entry | Failure]:
    """Every document under the paths, which are relative to `base` (the current folder if None)."""
    for portion in whole(paths, base or Path.cwd()):
        yield from read_portion(portion, image_root)


def read_portion(portion: Portion, image_root: Path | None = None) -> Iterator[Entry | Failure]:
    """The documents of a portion; image paths in tables are relative to `image_root`, or to the table."""
    suffix = Path(portion.paths[0]).suffix.lower()
    readers = {**dict.fromkeys(LINES, _json_rows), **dict.fromkeys(TABLES, _csv_rows), PARQUET: _parquet_rows}
    rows = readers.get(suffix)
    if rows is None:
        for given in portion.paths:
            yield _image_entry(given, Path(portion.base, given))
        return
    given = portion.paths[0]
    root = image_root or portion.file.parent
    try:
        for number, row in rows(portion):
            yield from _row_entries(f"{given}:{number}", row, root)
    except OSError as error:
        yield Failure(given, f"cannot be read ({error.strerror or error}).")


_Rows = Iterator[tuple[int, Mapping[str, Any] | Unreadable]]


def _image_entry(given: str, path: Path) -> Entry | Failure:
    try:
        given.encode()
    except UnicodeEncodeError:
        return Failure(repr(given), "has a name that is not UTF-8; rename it.")
    try:
        image = read_image(path, given)
        # An id stands in a URL, so it may not lead upwards.
        document_id = (path.resolve() if ".." in Path(given).parts else Path(given)).as_posix()
        return make_entry(given, document_id, image=image, metadata={"file": path.name}, own_id=False)
    except Unreadable as reason:
        return Failure(given, str(reason))


def _row_entries(source: str, row: Mapping[str, Any] | Unreadable, root: Path) -> Iterator[Entry | Failure]:
    if isinstance(row, Unreadable):
        yield Failure(source, str(row))
    elif is_mmeb(row.keys()):
        yield from mmeb_entries(source, row, root)
    else:
        try:
            yield entry_of_row(source, row, root)
        except Unreadable as reason:
            yield Failure(source, str(reason))


def _json_rows(portion: Portion) -> _Rows:
    for number, line in enumerate(_lines(portion), start=portion.line):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, Unreadable(f"is not JSON ({error}).")
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            yield number, Unreadable("is not a JSON object.")


def _csv_rows(portion: Portion) -> _Rows:
    delimiter = TABLES[portion.file.suffix.lower()]
    with portion.file.open("rb") as start:
        head = next(csv_records(_decoded(start), delimiter), [])
        behind_head = start.tell()
    if isinstance(head, csv.Error) or len(set(head)) < len(head):
        yield 1, Unreadable("has a head that cannot be read, or names a column twice.")
        return
    number = portion.line

    def counted() -> Iterator[str]:
        nonlocal number
        for line in _decoded(_lines(portion)):
            number += 1
            yield line

    first = number
    for position, cells in enumerate(csv_records(counted(), delimiter)):
        line, first = first, number
        if position == 0 and portion.start < behind_head:
            continue  # the head itself
        if not isinstance(cells, csv.Error) and cells:
            yield line, _csv_row(head, cells)
        elif isinstance(cells, csv.Error):
            yield line, Unreadable(f"is not CSV ({cells}).")


def _csv_row(head: Sequence[str], cells: Sequence[str]) -> Mapping[str, Any] | Unreadable:
    if len(cells) != len(head):
        return Unreadable(f"has {len(cells)} cells, and the head has {len(head)}.")
    return {
        name: cell if name in COLUMNS else _typed(cell)
        for name, cell in zip(head, cells, strict=True)
        if cell != ""
    }


def _typed(cell: str) -> Any:
    """A cell of CSV, which has no types: JSON's numbers, true and false are those, all else is text."""
    if cell in ("true", "false"):
        return cell == "true"
    if cell[0] not in _NUMBER_STARTS:
        return cell
    try:
        value = json.loads(cell, parse_constant=str)
    except ValueError:
        return cell
    if isinstance(value, int):
        return value if value in _INT64 else cell  # a longer one is some code rather than a number
    return value if isinstance(value, float) and math.isfinite(value) else cell


def _parquet_rows(portion: Portion) -> _Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(portion.file) as file:
            groups = range(portion.start, portion.stop or file.num_row_groups)
            number = 1 + sum(file.metadata.row_group(group).num_rows for group in range(portion.start))
            for batch in file.iter_batches(_ROWS_AT_ONCE, row_groups=list(groups)):
                for row in _parquet_batch(batch):
                    yield number, row
                    number += 1
    except pa.ArrowException as error:
        yield 0, Unreadable(f"is not Parquet, or is damaged ({error}).")


def _parquet_batch(batch: Any) -> Iterable[Mapping[str, Any] | Unreadable]:
    """The rows of a record batch; a cell that Python has no value for spoils its row alone."""
    try:
        rows: Iterable[Mapping[str, Any]] = batch.to_pylist()
    except (ValueError, OverflowError) as error:
        if batch.num_rows == 1:
            return [Unreadable(f"has a value that cannot be read ({error}).")]
        return [row for at in range(batch.num_rows) for row in _parquet_batch(batch.slice(at, 1))]
    return rows


def _lines(portion: Portion) -> Iterator[bytes]:
    """The lines of a portion of a text file."""
    with portion.file.open("rb") as file:
        file.seek(portion.start)
        left = None if portion.stop is None else portion.stop - portion.start
        for line in file:
            if left is not None:
                if left <= 0:
                    return
                left -= len(line)
            yield line


def _decoded(lines: Iterable[bytes]) -> Iterator[str]:
    """Lines as text; bytes that are not UTF-8 become lone surrogates, which no document may hold."""
    for number, line in enumerate(lines):
        text = line.decode("utf-8", "surrogateescape")
        yield text.removeprefix("\ufeff") if number == 0 else text
