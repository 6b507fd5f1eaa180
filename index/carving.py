"""Carving: a log's rows as they lie in its pages, for where its b-trees do not lead to them any more.

One damaged page of a b-tree hides all that lies behind it, though it is whole. A row's content never changes
under its key, and its checksums are bound to that, so a copy of it is right wherever it lies: in a page
that nothing points at, or in an earlier state of one. Whether it is live is for the caller to know: pages
that were freed still hold rows that were deleted.

The format of pages, cells and records: https://www.sqlite.org/fileformat2.html
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Set
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from index.records import Record, is_sound, is_sound_blob, record_of
from index.schema import PAGE_SIZE

_LEAF = 13  # the first byte of a page of a table's rows
_PAGE_HEADER = 8
_WAL_HEADER, _FRAME_HEADER = 32, 24
# A long row begins in its cell; the rest is in a chain of pages that begin with the number of the next.
_MOST_IN_CELL = PAGE_SIZE - 35
_LEAST_IN_CELL = (PAGE_SIZE - 12) * 32 // 255 - 23
_IN_CHAINED_PAGE = PAGE_SIZE - 4
_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_COLUMNS_OF_DOCUMENTS, _COLUMNS_OF_BLOBS = 6, 3

_MALFORMED = (IndexError, ValueError, OSError)


class _Place(NamedTuple):
    """Where a page lies: in which open file, at which byte."""

    handle: int
    offset: int


class Carving:
    """Finds rows in the pages of one log; use it in a `with`."""

    def __init__(self, path: Path, wal: Path, rows: Set[int]) -> None:
        """Look for these row keys through a database and its write-ahead log, if there is one.

        Remembers only where they are. Raises `OSError` if the database is not there.
        """
        self._pages: dict[int, _Place] = {}  # by number, as of the end of the write-ahead log
        self._cells: dict[int, list[tuple[_Place, int]]] = {row: [] for row in rows}
        self._handles = [os.open(path, os.O_RDONLY | os.O_CLOEXEC)]
        with suppress(FileNotFoundError):
            self._handles.append(os.open(wal, os.O_RDONLY | os.O_CLOEXEC))
        for number, place in self._places():
            self._pages[number] = place
            with suppress(*_MALFORMED):
                self._note_cells(place)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            os.close(handle)

    def record(self, row: int, dimensions: int, vector: object, image: object) -> Record | None:
        """The document under one of the row keys, or None if not all of it was found as it was written.

        `vector` and `image` are what the b-trees have of it. They tell which is which where an image is as
        long as a vector.
        """
        documents, blobs = [], {}
        for columns in self._rows_under(row):
            if len(columns) == _COLUMNS_OF_DOCUMENTS and is_sound((row, *columns[1:])):
                documents.append(columns)
            elif len(columns) == _COLUMNS_OF_BLOBS and is_sound_blob(row, *columns[1:]):
                blobs[columns[1]] = columns[2]
        vectors = {vector} & blobs.keys() or {b for b in blobs if len(b) == 4 * dimensions} - {image}
        images = {image} & blobs.keys() or blobs.keys() - vectors
        if not documents or len(vectors) != 1 or len(images) > 1:
            return None
        parts = [(blob, blobs.get(blob)) for blob in (vectors.pop(), images.pop() if images else None)]
        return record_of((row, *documents[0][1:], *parts[0], *parts[1]), dimensions)

    def _places(self) -> Iterator[tuple[int, _Place]]:
        """The pages with their numbers, later states of a page later; the first holds no rows of ours."""
        database, *wals = self._handles
        for offset in range(PAGE_SIZE, os.fstat(database).st_size, PAGE_SIZE):
            yield offset // PAGE_SIZE + 1, _Place(database, offset)
        for wal in wals:
            for offset in range(_WAL_HEADER, os.fstat(wal).st_size, _FRAME_HEADER + PAGE_SIZE):
                with suppress(OSError):
                    number = int.from_bytes(os.pread(wal, 4, offset), "big")
                    yield number, _Place(wal, offset + _FRAME_HEADER)

    def _note_cells(self, place: _Place) -> None:
        page = _read(place)
        if page[0] != _LEAF:
            return
        for at in range(_PAGE_HEADER, _PAGE_HEADER + 2 * int.from_bytes(page[3:5], "big"), 2):
            cell = int.from_bytes(page[at : at + 2], "big")
            with suppress(IndexError):
                row, _ = _varint(page, _varint(page, cell)[1])
                if row in self._cells:
                    self._cells[row].append((place, cell))

    def _rows_under(self, row: int) -> Iterator[list[Any]]:
        for place, cell in self._cells[row]:
            with suppress(*_MALFORMED):
                yield _columns(self._payload(_read(place), cell))

    def _payload(self, page: bytes, cell: int) -> bytes:
        size, at = _varint(page, cell)
        _, at = _varint(page, at)
        if size > PAGE_SIZE * (len(self._pages) + 1):
            raise ValueError("longer than the file")
        if size <= _MOST_IN_CELL:
            return page[at : at + size]
        here = _LEAST_IN_CELL + (size - _LEAST_IN_CELL) % _IN_CHAINED_PAGE
        here = here if here <= _MOST_IN_CELL else _LEAST_IN_CELL
        parts = [page[at : at + here]]
        number = int.from_bytes(page[at + here : at + here + 4], "big")
        for _ in range(-(-(size - here) // _IN_CHAINED_PAGE)):
            if number not in self._pages:
                raise ValueError("no such page")
            chained = _read(self._pages[number])
            parts.append(chained[4:])
            number = int.from_bytes(chained[:4], "big")
        return b"".join(parts)[:size]


def _read(place: _Place) -> bytes:
    page = os.pread(place.handle, PAGE_SIZE, place.offset)
    if len(page) < PAGE_SIZE:
        raise ValueError("cut short")
    return page


def _columns(payload: bytes) -> list[Any]:
    """The values of a row; texts as bytes. Raises `ValueError` or `IndexError` for what is none."""
    end, at = _varint(payload, 0)
    kinds = []
    while at < end:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    values: list[Any] = []
    for kind in kinds:
        if kind == 0:
            values.append(None)
        elif kind in (8, 9):
            values.append(kind - 8)
        elif kind in _INTEGER_BYTES:
            end = at + _INTEGER_BYTES[kind]
            values.append(int.from_bytes(payload[at:end], "big", signed=True))
            at = end
        elif kind >= 12:
            end = at + (kind - 12) // 2
            values.append(payload[at:end])
            at = end
        else:
            raise ValueError("a kind of value that logs do not have")
    return values


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, the highest first, and where it ends."""
    value = 0
    for end in range(at + 1, at + 9):
        byte = content[end - 1]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, end
    return value << 8 | content[at + 8], at + 9
