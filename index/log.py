"""The durable document log of one collection: a SQLite database, and the truth that everything else follows.

Each change takes the next sequence number of the collection. A document's row key is the number of the
change that wrote it, so a row key is never used twice: writing an id again makes a new row, and nothing
that remembers the old row can take it for the new one. The live rows alone therefore say all that a
view needs to catch up: rows that it has and the log has not were deleted, rows above its own sequence
number are new. Vectors and images have tables of their own, so that walking the documents stays cheap.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from index.files import sync_directory
from index.types import Document, Image, NewDocument, StorageError, UnknownDocument, Vectors

FORMAT = 1

_SCHEMA = (
    """CREATE TABLE collection (
        single INTEGER PRIMARY KEY CHECK (single = 1),
        format INTEGER NOT NULL, uuid TEXT NOT NULL, created TEXT NOT NULL,
        dimensions INTEGER NOT NULL, model TEXT NOT NULL, sequence INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE documents (
        row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,
        text TEXT, metadata TEXT NOT NULL, image_media_type TEXT
    ) STRICT""",
    """CREATE TABLE vectors (
        row INTEGER PRIMARY KEY REFERENCES documents ON DELETE CASCADE, vector BLOB NOT NULL
    ) STRICT""",
    """CREATE TABLE images (
        row INTEGER PRIMARY KEY REFERENCES documents ON DELETE CASCADE, data BLOB NOT NULL
    ) STRICT""",
)
_SETUP = ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "PRAGMA foreign_keys = ON")
_PAGE_SIZE = "PRAGMA page_size = 8192"  # on the usual 4096 bytes, a vector would often take a page alone
_BATCH = 4096  # rows read at a time
_VARIABLES = 512  # below SQLite's limit on the question marks of one statement


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What a collection was made with. `uuid` tells it from an earlier one of the same name."""

    uuid: str
    dimensions: int
    model: str
    created: str


@dataclass(frozen=True, slots=True)
class LiveRow:
    """A live document, without its text and vector."""

    row: int
    id: str
    metadata: Mapping[str, Any]


class DocumentLog:
    """One collection's database. Reads may run beside each other and a write; the caller orders writes.

    Whatever the disk refuses is raised as `StorageError`, with nothing of the call kept.
    """

    def __init__(self, path: Path) -> None:
        """Open an existing log; SQLite itself rolls back what a crash left unfinished."""
        self._path = path
        self._pool_lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        with _storage_errors(path):
            self._writer = _connect(path)
            try:
                self.settings = _read_settings(self._writer, path)
            except BaseException:
                self._writer.close()
                raise

    @classmethod
    def create(cls, path: Path, dimensions: int, model: str) -> None:
        """Make an empty log; it is on disk, in a single file, when this returns."""
        settings = (FORMAT, uuid.uuid4().hex, datetime.now(UTC).isoformat(), dimensions, model)
        with _storage_errors(path):
            connection = _connect(path, mode="rwc", setup=(_PAGE_SIZE, *_SETUP))
            try:
                with _transaction(connection):
                    for statement in _SCHEMA:
                        connection.execute(statement)
                    connection.execute("INSERT INTO collection VALUES (1, ?, ?, ?, ?, ?, 0)", settings)
            finally:
                connection.close()
            sync_directory(path.parent)

    def upsert(
        self, documents: Sequence[NewDocument], metadata: Sequence[str], vectors: Vectors
    ) -> Sequence[int]:
        """Write documents, whose ids differ, with their metadata as JSON and their vectors [N, D].

        Returns their row keys. All are on disk when this returns, or none.
        """
        with _storage_errors(self._path), _transaction(self._writer):
            last = self._advance(len(documents))
            rows = range(last - len(documents) + 1, last + 1)
            self._writer.executemany("DELETE FROM documents WHERE id = ?", ((d.id,) for d in documents))
            self._writer.executemany(
                "INSERT INTO documents VALUES (?, ?, ?, ?, ?)",
                (
                    (row, document.id, document.text, encoded, document.image and document.image.media_type)
                    for row, document, encoded in zip(rows, documents, metadata, strict=True)
                ),
            )
            stored = vectors.astype("<f4", copy=False)
            self._writer.executemany(
                "INSERT INTO vectors VALUES (?, ?)",
                ((row, vector.tobytes()) for row, vector in zip(rows, stored, strict=True)),
            )
            self._writer.executemany(
                "INSERT INTO images VALUES (?, ?)",
                ((row, d.image.data) for row, d in zip(rows, documents, strict=True) if d.image is not None),
            )
        return rows

    def delete(self, document_id: str) -> int:
        """Remove a document; return the change's sequence number. Raises `UnknownDocument`."""
        with _storage_errors(self._path), _transaction(self._writer):
            removed = self._writer.execute("DELETE FROM documents WHERE id = ?", (document_id,)).rowcount
            if not removed:
                raise UnknownDocument(f"No document has the id {document_id!r}.")
            return self._advance(1)

    def document(self, document_id: str) -> Document:
        """One document. Raises `UnknownDocument`."""
        with self._reading() as connection:
            found = connection.execute(
                "SELECT id, text, metadata, image_media_type FROM documents WHERE id = ?", (document_id,)
            ).fetchone()
        if found is None:
            raise UnknownDocument(f"No document has the id {document_id!r}.")
        return _document(found)

    def image(self, document_id: str) -> Image:
        """A document's image. Raises `UnknownDocument` if there is no document, or it has no image."""
        with self._reading() as connection:
            found = connection.execute(
                "SELECT data, image_media_type FROM documents JOIN images USING (row) WHERE id = ?",
                (document_id,),
            ).fetchone()
        if found is None:
            raise UnknownDocument(f"No document with the id {document_id!r} has an image.")
        return Image(*found)

    def documents_by_row(self, rows: Sequence[int]) -> dict[int, Document]:
        """The documents under row keys; keys that are live no more are missing from the answer."""
        found: dict[int, Document] = {}
        with self._reading() as connection:
            for start in range(0, len(rows), _VARIABLES):
                chunk = rows[start : start + _VARIABLES]
                # Only question marks enter the statement's text.
                query = (
                    "SELECT row, id, text, metadata, image_media_type FROM documents "  # noqa: S608
                    f"WHERE row IN ({','.join('?' * len(chunk))})"
                )
                found |= {row: _document(rest) for row, *rest in connection.execute(query, chunk)}
        return found

    def sequence(self) -> int:
        """The number of the latest change; 0 in a new collection."""
        with self._reading() as connection:
            return int(connection.execute("SELECT sequence FROM collection").fetchone()[0])

    def live_rows(self) -> Iterator[LiveRow]:
        """Every live document, by row key, ascending."""
        with self._reading() as connection:
            for row, document_id, metadata in connection.execute(
                "SELECT row, id, metadata FROM documents ORDER BY row"
            ):
                yield LiveRow(row, document_id, json.loads(metadata))

    def vectors_after(self, row: int) -> Iterator[tuple[Sequence[int], Vectors]]:
        """Live rows above a row key with their vectors [n, D], ascending, in batches."""
        with self._reading() as connection:
            cursor = connection.execute("SELECT row, vector FROM vectors WHERE row > ? ORDER BY row", (row,))
            while batch := cursor.fetchmany(_BATCH):
                joined = np.frombuffer(b"".join(blob for _, blob in batch), dtype="<f4")
                yield (
                    [key for key, _ in batch],
                    joined.astype(np.float32).reshape(len(batch), self.settings.dimensions),
                )

    def close(self) -> None:
        """Close the database. No call may be running, and none may follow."""
        with self._pool_lock:
            for connection in self._idle:
                connection.close()
            self._idle.clear()
        self._writer.close()

    def _advance(self, changes: int) -> int:
        """Take sequence numbers, within the caller's transaction; return the last of them."""
        found = self._writer.execute(
            "UPDATE collection SET sequence = sequence + ? RETURNING sequence", (changes,)
        ).fetchone()
        return int(found[0])

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Lend a read-only connection; there come to be as many as there are reads at a time."""
        with _storage_errors(self._path):
            with self._pool_lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                connection = _connect(self._path)
                connection.execute("PRAGMA query_only = ON")
            try:
                yield connection
            finally:
                with self._pool_lock:
                    self._idle.append(connection)


def _connect(path: Path, mode: str = "rw", setup: Iterable[str] = _SETUP) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=30.0,
        isolation_level=None,  # transactions are begun and ended here, in the open
        check_same_thread=False,
    )
    try:
        for statement in setup:
            connection.execute(statement)
    except BaseException:
        connection.close()
        raise
    return connection


def _read_settings(connection: sqlite3.Connection, path: Path) -> LogSettings:
    found = connection.execute("SELECT format, uuid, dimensions, model, created FROM collection").fetchone()
    if found is None or found[0] != FORMAT:
        given = "no format version" if found is None else f"format {found[0]}"
        raise StorageError(
            f"The document log {path} has {given}; this version reads format {FORMAT}. "
            "Open it with the version of Solomon that wrote it, or move its folder away."
        )
    return LogSettings(*found[1:])


def _document(found: Sequence[Any]) -> Document:
    document_id, text, metadata, image_media_type = found
    return Document(document_id, text, json.loads(metadata), image_media_type)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    """Turn what the disk or a damaged file causes into `StorageError`; let programming errors through."""
    try:
        yield
    except (sqlite3.OperationalError, OSError) as error:
        raise StorageError(f"The document log {path.name} could not be used: {error}.") from error
    except sqlite3.DatabaseError as error:
        if type(error) is not sqlite3.DatabaseError:
            raise
        raise StorageError(
            f"The document log {path} is damaged ({error}); restore a backup, or move its folder away."
        ) from error
