"""Backups: one file that holds a collection, taken while it is served, and read back with every check.

A backup is a log's database with one more table, `backup`, which says whose it is. Restoring reads its
rows and writes a new log of them; nothing else of the file is used, so a file that someone prepared can bring
in documents and no more.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from index.building import LogBuilder, open_source
from index.files import move
from index.log import DocumentLog
from index.migration import SCHEMA_1, migrate
from index.records import read_records
from index.schema import FORMAT, SCHEMA, connect, read_format, read_settings, storage_errors
from index.types import DamagedLog, InvalidInput, StorageError
from index.verification import damage_in

_TABLE = "CREATE TABLE backup (collection TEXT NOT NULL, made TEXT NOT NULL) STRICT"
_SETUP = ("PRAGMA journal_mode = DELETE", "PRAGMA synchronous = FULL")


@dataclass(frozen=True, slots=True)
class BackupLabel:
    """Of which collection a backup is, and when it was made (ISO 8601)."""

    collection: str
    made: str


def write_backup(log: DocumentLog, name: str, target: Path, check: Callable[[], None] = lambda: None) -> None:
    """Write a collection's backup; the file is there whole, or not at all. Raises `StorageError`.

    It holds the collection as it is when this begins; reads and writes go on meanwhile. `check` is called
    often, and may raise to give up.
    """
    temporary = target.with_name(f"{target.name}.new")
    temporary.unlink(missing_ok=True)
    try:
        with storage_errors(target):
            with closing(connect(temporary, mode="rwc", setup=())) as copy:
                log.backup(copy, lambda *_: check())
            with closing(connect(temporary, setup=_SETUP)) as copy:  # leaves the write-ahead mode
                copy.execute(_TABLE)
                copy.execute("INSERT INTO backup VALUES (?, ?)", (name, datetime.now(UTC).isoformat()))
            move(temporary, target)
    except BaseException:
        for leftover in (temporary, temporary.with_name(f"{temporary.name}-journal")):
            leftover.unlink(missing_ok=True)
        raise


def read_label(path: Path) -> BackupLabel | None:
    """Whose backup a file is, None if it does not say. Raises `InvalidInput` for what is no backup."""
    try:
        with closing(_open_untrusted(path)) as source:
            found = source.execute("SELECT collection, made FROM backup").fetchone()
            return BackupLabel(found[0].decode(), found[1].decode())
    except (sqlite3.OperationalError, TypeError, AttributeError, UnicodeDecodeError):
        return None
    except sqlite3.DatabaseError as error:
        raise InvalidInput("backup", f"backup is not a Solomon backup ({error}).") from error


def restore_backup(path: Path, target: Path) -> None:
    """Make a new log of a backup, whose every row is checked; the new log has a uuid of its own.

    Reads any format up to the present one. Raises `InvalidInput` for a file that is no backup, is damaged or
    is newer; `StorageError` for what the disk refuses.
    """
    try:
        with storage_errors(path), closing(_open_untrusted(path)) as source:
            _check_tables(source)
            if _format(source, path) < FORMAT:
                migrate(path, target, renewed=True)
                return
            settings = read_settings(source, path)
            for damage in damage_in(source, settings.dimensions):
                raise InvalidInput("backup", f"backup is damaged: {damage}.")
            (sequence,) = source.execute("SELECT sequence FROM collection").fetchone()
            with LogBuilder(target, settings.renewed()) as builder:
                for record in read_records(source, path, settings.dimensions):
                    builder.add(record)
                builder.finish(sequence)
    except DamagedLog as error:
        raise InvalidInput("backup", f"backup cannot be read: {error}") from error


def _open_untrusted(path: Path) -> sqlite3.Connection:
    if os.path.getsize(path) == 0:
        raise InvalidInput("backup", "backup is an empty file.")
    return open_source(path)


def _format(source: sqlite3.Connection, path: Path) -> int:
    try:
        return read_format(source, path)
    except DamagedLog:
        raise
    except StorageError as error:
        raise InvalidInput("backup", f"backup cannot be read: {error}") from error


def _check_tables(source: sqlite3.Connection) -> None:
    """Refuse a database whose tables are not a log's: what else could be in it might run when it is read."""
    known = {statement.encode() for statement in (*SCHEMA, *SCHEMA_1, _TABLE)}
    for kind, sql in source.execute("SELECT type, sql FROM sqlite_master"):
        if sql not in known and not (kind == b"index" and sql is None):
            raise InvalidInput("backup", "backup is of a newer version, or none: it has other tables.")
