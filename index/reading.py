"""A data directory that is only read: what `solomon index copy` copies from, in which nothing changes.

Opening a store mends, migrates, salvages, trains and writes snapshots; this does none of it, and says what
must be done first where it cannot go on without. What a crash left unfinished counts as it will once the
directory is opened again. Only SQLite's `-shm` file, which holds nothing, may come and go.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from index.building import open_source
from index.collection import LOG_FILE
from index.folders import collections_in
from index.journal import read_journal
from index.locks import DirectoryLock
from index.log import JOURNAL_FILE
from index.migration import read_records_1
from index.records import Record, read_records
from index.schema import FORMAT, LogSettings, read_format, read_settings, storage_errors
from index.types import (
    UNUSABLE,
    CollectionInfo,
    DamagedLog,
    NewDocument,
    StorageError,
    UnknownCollection,
)
from index.validation import check_name
from index.verification import damage_in

_RECORDS = 64  # read at a time, as images may be among them


@dataclass(frozen=True, slots=True)
class _Log:
    """A log that is open for reading."""

    connection: sqlite3.Connection
    folder: Path
    format: int
    settings: LogSettings

    @property
    def path(self) -> Path:
        return self.folder / LOG_FILE

    def records(self) -> Iterator[Record]:
        """Every document, by row key. Raises `DamagedLog` if they are not those that were written."""
        if self.format < FORMAT:
            yield from read_records_1(self.connection, self.path, self.settings.dimensions)
            return
        (sequence,) = self.connection.execute("SELECT sequence FROM collection").fetchone()
        journal = read_journal(self.folder / JOURNAL_FILE)
        uuid = self.settings.uuid
        if journal is not None and journal.settings.uuid == uuid and journal.sequence > sequence:
            raise self._damage(f"its last {journal.sequence - sequence} acknowledged changes are missing")
        for damage in damage_in(self.connection, self.settings.dimensions, thorough=False):
            raise self._damage(damage)
        yield from read_records(self.connection, self.path, self.settings.dimensions)

    def _damage(self, what: str) -> DamagedLog:
        return DamagedLog(f"The document log {LOG_FILE} is damaged: {what}.")


class FolderSource:
    """The collections of a data directory, which no other process has open meanwhile."""

    def __init__(self, data_dir: Path) -> None:
        """Take the directory's lock. Raises `DataDirectoryLocked`."""
        self._lock = DirectoryLock(data_dir, make=False)
        self._folders = collections_in(data_dir)

    def list(self) -> Sequence[CollectionInfo]:
        """Every collection, by name; those that cannot be read have the index kind "unusable"."""
        return [self._listed(name) for name in sorted(self._folders)]

    def get(self, name: str) -> CollectionInfo:
        """One collection. Raises `UnknownCollection`, `DamagedLog` and `StorageError`."""
        with self._opened(name) as log:
            (count,) = log.connection.execute("SELECT count(*) FROM documents").fetchone()
            return CollectionInfo(name, count, log.settings.dimensions, "flat", log.settings.model)

    def export(self, name: str) -> Iterator[Sequence[NewDocument]]:
        """Every document with its vector and image, in batches, by row key. Raises what `get` does."""
        with self._opened(name) as log:
            records = log.records()
            while batch := list(islice(records, _RECORDS)):
                yield [record.document() for record in batch]

    def close(self) -> None:
        """Let go of the directory."""
        self._lock.release()

    def _listed(self, name: str) -> CollectionInfo:
        try:
            return self.get(name)
        except StorageError as error:
            return CollectionInfo(name, 0, 0, UNUSABLE, "", damage=str(error))

    @contextmanager
    def _opened(self, name: str) -> Iterator[_Log]:
        try:
            folder = self._folders[check_name(name)]
        except KeyError:
            raise UnknownCollection(f"No collection has the name {name!r}.") from None
        path = folder / LOG_FILE
        if not path.exists():
            raise DamagedLog(
                f"The document log {LOG_FILE} of the collection {name!r} is missing. Put it back."
            )
        try:
            with storage_errors(path), _unchanged(path) as connection:
                format = read_format(connection, path)
                yield _Log(connection, folder, format, read_settings(connection, path, format))
        except DamagedLog as damage:
            raise DamagedLog(
                f"{damage} Nothing was changed. Starting a server on the source recovers what is sound."
            ) from damage


@contextmanager
def _unchanged(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that neither moves the write-ahead log into the database nor makes one."""
    wal, shared = (path.with_name(f"{path.name}-{what}") for what in ("wal", "shm"))
    pending = wal.exists() and wal.stat().st_size > 0
    leave_shared = shared.exists()
    try:
        with closing(open_source(path, "ro" if pending else "ro&immutable=1")) as connection:
            yield connection
    finally:
        if not leave_shared:
            shared.unlink(missing_ok=True)
