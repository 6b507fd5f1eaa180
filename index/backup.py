"""Backups: one file that holds a collection, taken while it is served, and read back with every check.

A backup is a log's database with one more table, `backup`, which says whose it is. Restoring reads its
rows and writes a new log of them; nothing else of the file is used, so a file that someone prepared can bring
in documents and no more, and only such as a write would have brought in.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from index.building import LogBuilder, open_source
from index.files import move
from index.log import DocumentLog
from index.migration import SCHEMA_1, migrate
from index.records import Record, read_records
from index.schema import (
    FORMAT,
    SCHEMA,
    LogSettings,
    connect,
    read_format,
    read_settings,
    storage_errors,
)
from index.types import DamagedLog, InvalidInput, StorageError
from index.validation import check_dimensions, check_fields, check_media_type, check_text, unit_vector
from index.verification import damage_in

_OTHER_FILE = "Send another backup of the collection."
_TABLE = "CREATE TABLE backup (collection TEXT NOT NULL, made TEXT NOT NULL) STRICT"
_ROUNDING = 1e-3  # of a vector's length, which was made 1 when it was written
_LAST_SEQUENCE = 2**62  # SQLite's integers end at twice that, and changes must be able to follow
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
    except BaseException as error:
        for leftover in (temporary, temporary.with_name(f"{temporary.name}-journal")):
            leftover.unlink(missing_ok=True)
        if not isinstance(error, StorageError) or isinstance(error, DamagedLog):
            raise
        reason = getattr(error.__cause__, "strerror", None) or error.__cause__
        raise StorageError(
            f"The backup could not be written ({reason}); it needs as much room as the collection takes, on "
            "the server in its data directory first. The collection is as it was."
        ) from error


def read_label(path: Path) -> BackupLabel | None:
    """Whose backup a file is, None if it does not say. Raises `InvalidInput` for what is no backup."""
    try:
        with closing(_open_untrusted(path)) as source:
            found = source.execute("SELECT collection, made FROM backup").fetchone()
            return BackupLabel(found[0].decode(), found[1].decode())
    except (sqlite3.OperationalError, TypeError, AttributeError, UnicodeDecodeError):
        return None
    except sqlite3.DatabaseError as error:
        raise InvalidInput("backup", f"backup is not a Solomon backup ({error}).", _OTHER_FILE) from error


def restore_backup(path: Path, target: Path) -> None:
    """Make a new log of a backup, whose every row is checked; the new log has a uuid of its own.

    Reads any format up to the present one. Raises `InvalidInput` for a file that is no backup, is damaged,
    is newer, or holds what no write would have let in; `StorageError` for what the disk refuses.
    """
    try:
        with storage_errors(path), closing(_open_untrusted(path)) as source:
            _check_tables(source)
            format = _format(source, path)
            settings = read_settings(source, path, format)
            sequence = _check_state(source, settings)
            check = partial(_checked, dimensions=settings.dimensions)
            if format < FORMAT:
                migrate(path, target, renewed=True, check=check)
                return
            for damage in damage_in(source, settings.dimensions):
                raise InvalidInput("backup", f"backup is damaged: {damage}.", _OTHER_FILE)
            with LogBuilder(target, settings.renewed()) as builder:
                for record in read_records(source, path, settings.dimensions):
                    builder.add(check(record))
                builder.finish(sequence)
    except DamagedLog as error:
        raise InvalidInput("backup", f"backup cannot be read ({error}).", _OTHER_FILE) from error


def _open_untrusted(path: Path) -> sqlite3.Connection:
    if os.path.getsize(path) == 0:
        raise InvalidInput("backup", "backup is an empty file.", _OTHER_FILE)
    return open_source(path)


def _format(source: sqlite3.Connection, path: Path) -> int:
    try:
        return read_format(source, path)
    except DamagedLog:
        raise
    except StorageError as error:
        raise InvalidInput("backup", f"backup cannot be read ({error}).", _OTHER_FILE) from error


def _check_state(source: sqlite3.Connection, settings: LogSettings) -> int:
    """Check what a collection was made with and how far it has come; return its latest change."""
    with _named():
        check_dimensions(settings.dimensions)
        check_text(settings.model, "model")
    (sequence,) = source.execute("SELECT sequence FROM collection").fetchone()
    first, last = source.execute("SELECT min(row), max(row) FROM documents").fetchone()
    if not isinstance(sequence, int) or not 0 <= sequence <= _LAST_SEQUENCE:
        raise _refusal(f"its latest change has the number {sequence!r}.")
    if first is not None and not 1 <= int(first) <= last <= sequence:
        raise _refusal(f"it has documents in rows {first} to {last}, and they belong in 1 to {sequence}.")
    return int(sequence)


def _checked(record: Record, dimensions: int) -> Record:
    """The record as a write would have stored it. Raises `InvalidInput` if none would."""
    address = f"documents[row {record.row}]"
    with _named():
        try:
            metadata = json.loads(record.metadata)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(
                "metadata", f"{address}.metadata is not JSON ({error}).", _OTHER_FILE
            ) from error
        encoded = check_fields(record.id, record.text, metadata, address)
        vector = np.frombuffer(record.vector, "<f4").astype(np.float64)
        unit_vector(vector, dimensions, f"{address}.vector")
        length = float(np.linalg.norm(vector))
        if abs(length - 1) > _ROUNDING:
            raise InvalidInput(
                "vector", f"{address}.vector has the length {length:.4g} where it must be 1.", _OTHER_FILE
            )
        media_type = record.image_media_type
        if media_type is not None:
            check_media_type(media_type, f"{address}.image")
    return replace(record, metadata=encoded)


@contextmanager
def _named() -> Iterator[None]:
    """Say of what is refused that it is in the backup."""
    try:
        yield
    except InvalidInput as error:
        raise _refusal(error.message) from error


def _refusal(reason: str) -> InvalidInput:
    message = f"backup holds what no write would have let in: {reason}"
    return InvalidInput("backup", message, _OTHER_FILE)


def _check_tables(source: sqlite3.Connection) -> None:
    """Refuse a database whose tables are not a log's: what else could be in it might run when it is read."""
    known = {statement.encode() for statement in (*SCHEMA, *SCHEMA_1, _TABLE)}
    for kind, sql in source.execute("SELECT type, sql FROM sqlite_master"):
        if sql not in known and not (kind == b"index" and sql is None):
            raise InvalidInput(
                "backup", "backup is of a newer version, or none: it has other tables.", _OTHER_FILE
            )
