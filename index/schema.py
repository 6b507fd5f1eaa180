"""The database of a document log: its format, its tables, and how connections to it are made.

Format 2 keeps a checksum with every row, and in the table `collection` how many documents there are and
the sum of their checksums, so that a row which changed, vanished or came back is noticed. Format 1 had
none of this; `index.migration` rewrites it.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zlib import crc32

from index.types import DamagedLog, NewerFormat, StorageError

FORMAT = 2
APPLICATION_ID = 0x534C4D4E  # "SLMN", in the file's header: tells a log from other SQLite databases
PAGE_SIZE = 16_384  # seven vectors of 576 floats fill a page; on 4096 bytes each would take one and a half

SCHEMA = (
    """CREATE TABLE collection (
        single INTEGER PRIMARY KEY CHECK (single = 1),
        format INTEGER NOT NULL, uuid TEXT NOT NULL, created TEXT NOT NULL,
        dimensions INTEGER NOT NULL, model TEXT NOT NULL, sequence INTEGER NOT NULL,
        documents INTEGER NOT NULL, digest INTEGER NOT NULL, settings_checksum INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE documents (
        row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,
        text TEXT, metadata TEXT NOT NULL, image_media_type TEXT, checksum INTEGER NOT NULL
    ) STRICT""",
    "CREATE TABLE vectors (row INTEGER PRIMARY KEY, vector BLOB NOT NULL, checksum INTEGER NOT NULL) STRICT",
    "CREATE TABLE images (row INTEGER PRIMARY KEY, data BLOB NOT NULL, checksum INTEGER NOT NULL) STRICT",
    """CREATE TABLE losses (
        id TEXT, reason TEXT NOT NULL, noticed TEXT NOT NULL, documents INTEGER NOT NULL
    ) STRICT""",
)
ID_INDEX = "sqlite_autoindex_documents_1"  # SQLite's name for the index behind `id TEXT UNIQUE`

# Checkpoints are the log's own (see `DocumentLog`). Text is read as bytes: checksums are over bytes, and a
# damaged text that is not UTF-8 must reach the check.
SETUP = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA wal_autocheckpoint = 0",
    "PRAGMA cell_size_check = ON",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cache_size = -16384",
)

#: What reading a damaged database can raise: Python's sqlite3 cannot even decode some of SQLite's messages,
#: and a damaged length may ask for more memory than there is.
UNREADABLE = (sqlite3.DatabaseError, UnicodeDecodeError, MemoryError)
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What a collection was made with. `uuid` tells it from an earlier one of the same name."""

    uuid: str
    dimensions: int
    model: str
    created: str

    def checksum(self) -> int:
        """CRC-32 of the settings, kept beside them."""
        return crc32(f"{self.uuid}\n{self.dimensions}\n{self.created}\n{self.model}".encode())

    def renewed(self) -> LogSettings:
        """The same settings under a new uuid, for a log that goes ways of its own."""
        return replace(self, uuid=uuid.uuid4().hex)

    @classmethod
    def new(cls, dimensions: int, model: str) -> LogSettings:
        """Settings of a collection that is made now."""
        return cls(uuid.uuid4().hex, dimensions, model, datetime.now(UTC).isoformat())


@dataclass(frozen=True, slots=True)
class LogState:
    """How far a log has come: its latest change, its documents, and the sum of their checksums."""

    sequence: int
    documents: int
    digest: int


def connect(path: Path, mode: str = "rw", setup: Iterable[str] = SETUP) -> sqlite3.Connection:
    """Open a connection whose transactions are begun and ended in the open, and whose texts are bytes."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=30.0,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=32,
    )
    connection.text_factory = bytes
    try:
        for statement in setup:
            connection.execute(statement)
    except BaseException:
        connection.close()
        raise
    return connection


def create_tables(connection: sqlite3.Connection, settings: LogSettings, state: LogState) -> None:
    """Lay out a log of this format, within the caller's transaction if there is one."""
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    for statement in SCHEMA:
        connection.execute(statement)
    connection.execute(
        "INSERT INTO collection VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            FORMAT,
            settings.uuid,
            settings.created,
            settings.dimensions,
            settings.model,
            state.sequence,
            state.documents,
            state.digest,
            settings.checksum(),
        ),
    )


def read_format(connection: sqlite3.Connection, path: Path) -> int:
    """The format of a log. Raises `NewerFormat` for a newer one, `DamagedLog` if there is none."""
    try:
        found = connection.execute("SELECT format FROM collection").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
            raise
        raise DamagedLog(
            f"The document log {path.name} is damaged: its tables are missing ({error})."
        ) from error
    if found is None or not isinstance(found[0], int) or found[0] < 1:
        raise DamagedLog(f"The document log {path.name} is damaged: it does not say which format it has.")
    if found[0] > FORMAT:
        raise NewerFormat(
            f"The document log {path.name} has format {found[0]}; this version reads formats 1 to {FORMAT}. "
            "Open it with the version of Solomon that wrote it, or a newer one."
        )
    return int(found[0])


def read_settings(connection: sqlite3.Connection, path: Path, format: int = FORMAT) -> LogSettings:
    """What a collection was made with. Raises `DamagedLog` if that is not as it was written."""
    checksum = "settings_checksum" if format > 1 else "NULL"
    found = connection.execute(
        f"SELECT uuid, dimensions, model, created, {checksum} FROM collection"
    ).fetchone()
    settings = _settings(found)
    if settings is None or (format > 1 and settings.checksum() != found[-1]):
        raise DamagedLog(
            f"The document log {path.name} is damaged: its settings are not as they were written."
        )
    return settings


def _settings(found: Sequence[Any] | None) -> LogSettings | None:
    try:
        given, dimensions, model, created, _ = found or ()
        return LogSettings(given.decode(), int(dimensions), model.decode(), created.decode())
    except (AttributeError, TypeError, ValueError):  # UnicodeDecodeError is a ValueError
        return None


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Commit what is done within, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what the disk causes into `StorageError`, and what a damaged file causes into `DamagedLog`.

    Callers of the server read the messages, so these name files without their folders.
    """
    try:
        yield
    except (*UNREADABLE, OSError) as error:
        raise_storage_error(path, error)
        raise


def raise_storage_error(path: Path, error: BaseException) -> None:
    """Raise what `storage_errors` turns an error into; return if it leaves the error as it is."""
    if not isinstance(error, (*UNREADABLE, OSError)) or isinstance(
        error, sqlite3.ProgrammingError | MemoryError
    ):
        return
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    if is_damage(error):
        raise DamagedLog(f"The document log {path.name} is damaged ({reason}).") from error
    raise StorageError(f"The document log {path.name} could not be used: {reason}.") from error


def is_damage(error: Exception) -> bool:
    """Whether an error says that a database's content is not what was written."""
    if isinstance(error, sqlite3.DataError | sqlite3.IntegrityError | UnicodeDecodeError):
        return True  # a length beyond all bounds; rows that break a rule which every write has kept; no text
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and (code & 0xFF in _DAMAGE or code == sqlite3.SQLITE_IOERR_SHORT_READ)
