"""Making a log out of records: what migration, salvage and restoring have in common."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from index.files import sync_directory
from index.records import DIGEST_MODULUS, Record, blob_checksum, document_checksum
from index.schema import PAGE_SIZE, LogSettings, LogState, connect, create_tables, storage_errors
from index.types import Loss

# The file counts for nothing until it is finished, so it is written as fast as it goes.
_SETUP = (
    f"PRAGMA page_size = {PAGE_SIZE}",
    "PRAGMA journal_mode = OFF",
    "PRAGMA synchronous = OFF",
    "PRAGMA trusted_schema = OFF",
)
_READING = ("PRAGMA cell_size_check = ON", "PRAGMA trusted_schema = OFF", "PRAGMA query_only = ON")


class LogBuilder:
    """Writes a new log with given row keys; use it in a `with`. Without `finish` the file is void."""

    def __init__(self, path: Path, settings: LogSettings) -> None:
        """Begin a log where no file is yet. Raises `StorageError`."""
        self._path = path
        self._documents = 0
        self._digest = 0
        with storage_errors(path):
            self._connection = connect(path, mode="rwc", setup=_SETUP)
            self._connection.execute("BEGIN")
            create_tables(self._connection, settings, LogState(0, 0, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def add(self, record: Record) -> None:
        """Write a document; its id and row key must be new."""
        row = record.row
        checksum = _checksum(record)
        with storage_errors(self._path):
            self._connection.execute(
                "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?)",
                (row, record.id, record.text, record.metadata, record.image_media_type, checksum),
            )
            for table, blob in (("vectors", record.vector), ("images", record.image)):
                if blob is not None:
                    values = (row, blob, blob_checksum(row, blob))
                    self._connection.execute(f"INSERT INTO {table} VALUES (?, ?, ?)", values)
        self._documents += 1
        self._digest += checksum

    def remove(self, row: int) -> None:
        """Take back a document that was added."""
        with storage_errors(self._path):
            found = self._connection.execute(
                "SELECT checksum FROM documents WHERE row = ?", (row,)
            ).fetchone()
            for table in ("documents", "vectors", "images"):
                self._connection.execute(f"DELETE FROM {table} WHERE row = ?", (row,))
        self._documents -= 1
        self._digest -= int(found[0])

    @property
    def totals(self) -> tuple[int, int]:
        """How many documents were added so far, and the digest of their checksums."""
        return self._documents, self._digest % DIGEST_MODULUS

    def finish(self, sequence: int, losses: Iterable[Loss] = ()) -> None:
        """Complete the log as of change number `sequence`; it is on disk when this returns."""
        with storage_errors(self._path):
            self._connection.executemany(
                "INSERT INTO losses VALUES (?, ?, ?, ?)",
                ((loss.id, loss.reason, loss.noticed, loss.documents) for loss in losses),
            )
            self._connection.execute(
                "UPDATE collection SET sequence = ?, documents = ?, digest = ?",
                (sequence, *self.totals),
            )
            self._connection.execute("COMMIT")
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.close()
            _sync(self._path)
            sync_directory(self._path.parent)


def _checksum(record: Record) -> int:
    return document_checksum(
        record.row,
        record.id.encode(),
        None if record.text is None else record.text.encode(),
        record.metadata.encode(),
        None if record.image_media_type is None else record.image_media_type.encode(),
    )


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_source(path: Path, mode: str = "rw") -> sqlite3.Connection:
    """Open a log to read records from it, in whatever journal mode it is."""
    return connect(path, mode, _READING)
