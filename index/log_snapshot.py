"""Reading a log row by row, and as of one of its changes: what is read then does not move.

A row never changes, and its key is never used twice. So whoever asks for rows by key gets what was written
there, or finds that they were deleted, whenever each of them is read.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from index.records import is_sound, is_sound_blob, named
from index.tables import chunks, marks
from index.types import DamagedLog, Document, Vectors

SOUND_COLUMNS = "row, id, text, metadata, image_media_type, checksum"

_parse = json.JSONDecoder().raw_decode  # a million calls of `json.loads` take seconds more

_SCANNED_SHARE = 16  # reading a sixteenth of all rows one by one takes as long as reading all in order


class LogReads:
    """Reads of rows by key over one connection, for one thread.

    What is not as it was written is raised as `DamagedLog`, and so are missing rows, which without a
    transaction may just have been deleted.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, dimensions: int) -> None:
        """Read by way of a connection; `dimensions` is the vectors' length."""
        self._connection = connection
        self._path = path
        self._dimensions = dimensions

    def documents(self, rows: Sequence[int]) -> dict[int, Document]:
        """The documents under live row keys."""
        found: dict[int, Document] = {}
        for read in self._by_row("documents", SOUND_COLUMNS, rows):
            if not is_sound(read):
                raise self._damage(named(read[0], read[1]))
            found[read[0]] = document_of(read)
        if len(found) < len(rows):
            raise self._damage(f"{len(rows) - len(found)} documents are missing")
        return found

    def vectors(self, rows: Sequence[int]) -> Vectors:
        """The vectors [N, D] under live row keys, which are given in ascending order."""
        found, vectors = self.live_vectors(rows)
        if len(found) < len(rows):
            raise self._damage(f"{len(rows) - len(found)} vectors are missing")
        return vectors

    def live_vectors(self, rows: Sequence[int]) -> tuple[Sequence[int], Vectors]:
        """Those of the row keys that are live, ascending, and their vectors [N, D]."""
        found = []
        for row, blob, checksum in self._by_row("vectors", "row, vector, checksum", rows):
            if not is_sound_blob(row, blob, checksum) or len(blob) != 4 * self._dimensions:
                raise self._damage(f"the vector in row {row} is not as it was written")
            found.append((row, blob))
        found.sort()
        joined = np.frombuffer(b"".join(blob for _, blob in found), dtype="<f4")
        vectors = joined.astype(np.float32, copy=False).reshape(len(found), self._dimensions)
        return [row for row, _ in found], vectors

    def _by_row(self, table: str, columns: str, rows: Sequence[int]) -> Iterator[Any]:
        """Rows of a table under keys, those of each statement in the order of the keys."""
        for chunk in chunks(rows):
            # A join with the keys as they come: for IN, SQLite would first put them into a table of its own.
            wanted = ",".join(["(?)"] * len(chunk))
            query = f"SELECT {columns} FROM (VALUES {wanted}) CROSS JOIN {table} ON row = column1"
            yield from self._connection.execute(query, chunk)

    def _damage(self, what: str) -> DamagedLog:
        return DamagedLog(f"The document log {self._path.name} is damaged: {what}.")


class LogSnapshot(LogReads):
    """Reads over a connection that is in a read transaction, while that lasts."""

    def __init__(self, connection: sqlite3.Connection, path: Path, dimensions: int) -> None:
        """Read by way of a connection whose transaction has begun; `dimensions` is the vectors' length."""
        super().__init__(connection, path, dimensions)
        #: The number of the latest change that this shows.
        self.sequence = int(connection.execute("SELECT sequence FROM collection").fetchone()[0])

    def rows_of(self, ids: Sequence[str]) -> dict[str, int]:
        """The row keys of those of the ids that are live."""
        found: dict[str, int] = {}
        for chunk in chunks(ids):
            query = f"SELECT id, row FROM documents WHERE id IN ({marks(chunk)})"
            found |= {name.decode(): row for name, row in self._connection.execute(query, chunk)}
        return found

    def row_keys(self) -> npt.NDArray[np.int64]:
        """Every live row key, ascending."""
        # Without an order SQLite walks the index of ids, which is far smaller than the documents.
        found = self._connection.execute("SELECT row FROM documents")
        rows = np.fromiter((row for (row,) in found), np.int64)
        rows.sort()
        return rows

    def metadata(self, rows: npt.NDArray[np.int64]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """The metadata of live row keys, which ascend, in that order; keys that are not live are missing."""
        count = int(self._connection.execute("SELECT documents FROM collection").fetchone()[0])
        if len(rows) * _SCANNED_SHARE < count:
            found = sorted(self._by_row("documents", SOUND_COLUMNS, rows.tolist()))
            yield from self._sound_metadata(iter(found))
            return
        wanted = set(rows.tolist()) if len(rows) < count else None
        everything = self._connection.execute(f"SELECT {SOUND_COLUMNS} FROM documents ORDER BY row")
        yield from self._sound_metadata(read for read in everything if wanted is None or read[0] in wanted)

    def _sound_metadata(self, found: Iterator[Sequence[Any]]) -> Iterator[tuple[int, Mapping[str, Any]]]:
        for read in found:
            if not is_sound(read):
                raise self._damage(named(read[0], read[1]))
            yield read[0], _parse(read[3].decode())[0]


def document_of(found: Sequence[Any]) -> Document:
    """The document in a row of `SOUND_COLUMNS`, which has been checked."""
    _, document_id, text, metadata, media_type, _ = found
    return Document(
        document_id.decode(),
        None if text is None else text.decode(),
        _parse(metadata.decode())[0],
        None if media_type is None else media_type.decode(),
    )
