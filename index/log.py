"""The durable document log of one collection: a SQLite database, and the truth that everything else follows.

Each change takes the next sequence number of the collection. A document's row key is the number of the
change that wrote it, so a row key is never used twice: writing an id again makes a new row, and nothing
that remembers the old row can take it for the new one. The live rows alone therefore say all that a
view needs to catch up: rows that it has and the log has not were deleted, rows above its own sequence
number are new. Vectors and images have tables of their own, so that walking the documents stays cheap.

What a call reads it checks against the row's checksum, and raises `DamagedLog` rather than return it.
Opening compares the log with its journal of changes (`index.journal`) and with its own count and digest;
a log of up to 64 MiB is verified as a whole (`index.verification`). The index of ids of a larger one is
checked after opening, by whoever calls `check_ids`; its other rows as they are read.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from index.checkpoint import Checkpointer
from index.connections import LentConnection, ReadConnections
from index.files import sync_directory
from index.journal import ChangeJournal, Journal, read_journal
from index.log_snapshot import SOUND_COLUMNS, LogReads, LogSnapshot, document_of
from index.records import Record, is_sound, is_sound_blob, named, read_losses, read_records, read_records_of
from index.schema import (
    FORMAT,
    PAGE_SIZE,
    SETUP,
    LogSettings,
    LogState,
    connect,
    create_tables,
    read_format,
    read_settings,
    storage_errors,
    transaction,
)
from index.tables import (
    add_to_digest,
    advance,
    chunks,
    insert_documents,
    insert_images,
    insert_vectors,
    remove_documents,
)
from index.types import (
    DamagedLog,
    Document,
    Image,
    Loss,
    NewDocument,
    StorageError,
    UnknownDocument,
    Vectors,
)
from index.verification import damage_in, id_index_damage_in

JOURNAL_FILE = "changes.journal"  # beside the database
VERIFIED_AT_OPENING = 64 * 2**20  # bytes

# Called with the change's sequence number, the row keys that it writes, and those that it removes.
BeforeCommit = Callable[[int, Sequence[int], Sequence[int]], None]

_BATCH = 4096  # rows read at a time
_RECORDS = 64  # and where images are among what is read
_PAGES = 256  # of a backup, between two looks at whether to give up
_STEPS = 10_000  # of SQLite's machine, the same for verifying


@dataclass(frozen=True, slots=True)
class LiveRow:
    """A live document, without its text and vector."""

    row: int
    id: str
    metadata: Mapping[str, Any]


class DocumentLog:
    """One collection's database. Reads may run beside each other and a write; the caller orders writes.

    Whatever the disk refuses is raised as `StorageError`, with nothing of the call kept, and damage as
    `DamagedLog`.
    """

    def __init__(self, path: Path) -> None:
        """Open an existing log of this format; SQLite itself rolls back what a crash left unfinished.

        Raises `StorageError` for a log of another format, `DamagedLog` for one that is not whole.
        """
        self._path = path
        self._readers = ReadConnections(path)
        #: Whether the index of ids still has to be compared with the documents, which takes seconds.
        self.ids_unchecked = False
        with storage_errors(path):
            self._writer = connect(path)
            try:
                self._check_format()
                self.settings = read_settings(self._writer, path)
                self._journal = ChangeJournal(
                    path.with_name(JOURNAL_FILE), self.settings, path.with_name(f"{path.name}-wal")
                )
                self._checkpointer = Checkpointer(self._writer, path, self._journal)
                journal = read_journal(path.with_name(JOURNAL_FILE))
                self._check_whole(journal)
                self._take_up(journal)
                self.lost = sum(loss.documents for loss in self.losses())
            except BaseException:
                self._readers.close()
                self._writer.close()
                raise

    @classmethod
    def create(cls, path: Path, dimensions: int, model: str) -> None:
        """Make an empty log; it is on disk, in a single file, when this returns."""
        with storage_errors(path):
            connection = connect(path, mode="rwc", setup=(f"PRAGMA page_size = {PAGE_SIZE}", *SETUP))
            try:
                with transaction(connection):
                    create_tables(connection, LogSettings.new(dimensions, model), LogState(0, 0, 0))
            finally:
                connection.close()
            sync_directory(path.parent)

    def upsert(
        self,
        documents: Sequence[NewDocument],
        metadata: Sequence[str],
        vectors: Vectors,
        before_commit: BeforeCommit | None = None,
    ) -> Sequence[int]:
        """Write documents, whose ids differ, with their metadata as JSON and their vectors [N, D].

        Returns their row keys. All are on disk when this returns, or none. `before_commit` is told what
        readers of the log will find from the commit on, which is before this returns.
        """
        ids = [document.id for document in documents]
        self._checkpointer.wait()
        with storage_errors(self._path), transaction(self._writer):
            removed = remove_documents(self._writer, ids)
            last = advance(self._writer, len(documents), len(documents) - removed.documents)
            rows = range(last - len(documents) + 1, last + 1)
            digest = insert_documents(self._writer, rows, documents, metadata)
            insert_vectors(self._writer, rows, vectors)
            insert_images(self._writer, rows, documents)
            add_to_digest(self._writer, digest - removed.digest)
            self._forget_losses(ids)
            if before_commit is not None:
                before_commit(last, rows, removed.rows)
        self._journal.wrote(ids, last)
        if self.lost:
            self.lost = sum(loss.documents for loss in self.losses())
        self._checkpointer.begin_if_due()
        return rows

    def delete(self, document_id: str, before_commit: BeforeCommit | None = None) -> int:
        """Remove a document; return the change's sequence number. Raises `UnknownDocument`.

        For `before_commit` see `upsert`.
        """
        self._checkpointer.wait()
        with storage_errors(self._path), transaction(self._writer):
            removed = remove_documents(self._writer, [document_id])
            if not removed.documents:
                raise UnknownDocument(f"No document has the id {document_id!r}.")
            sequence = advance(self._writer, 1, -1)
            add_to_digest(self._writer, -removed.digest)
            if before_commit is not None:
                before_commit(sequence, range(0), removed.rows)
        self._journal.deleted(document_id, sequence)
        self._checkpointer.begin_if_due()
        return sequence

    def document(self, document_id: str) -> Document:
        """One document. Raises `UnknownDocument`."""
        with self._readers.lend() as connection:
            found = connection.execute(
                f"SELECT {SOUND_COLUMNS} FROM documents WHERE id = ?", (document_id,)
            ).fetchone()
            if found is None:
                raise UnknownDocument(f"No document has the id {document_id!r}.")
            if found[1] != document_id.encode():
                raise self._damage(f"its index of ids does not lead to {document_id!r}")
            if not is_sound(found):
                raise self._damage(named(found[0], found[1]))
            return document_of(found)

    def image(self, document_id: str) -> Image:
        """A document's image. Raises `UnknownDocument` if there is no document, or it has no image."""
        with self._readers.lend() as connection:
            found = connection.execute(
                "SELECT row, image_media_type, data, images.checksum FROM documents "
                "LEFT JOIN images USING (row) WHERE id = ? AND image_media_type IS NOT NULL",
                (document_id,),
            ).fetchone()
            if found is None:
                raise UnknownDocument(f"No document with the id {document_id!r} has an image.")
            row, media_type, data, checksum = found
            if not is_sound_blob(row, data, checksum):
                raise self._damage(f"the image of the document {document_id!r} is not as it was written")
        return Image(data, media_type.decode())

    def lend(self) -> LentConnection:
        """A connection for `reads`, within a `with`. What goes wrong there is raised as `StorageError`."""
        return self._readers.lend()

    def reads(self, connection: sqlite3.Connection) -> LogReads:
        """Read rows by key, each as of when it is read: a transaction would cost more than most reads."""
        return LogReads(connection, self._path, self.settings.dimensions)

    @contextmanager
    def snapshot(self) -> Iterator[LogSnapshot]:
        """Read the log as it is now, whatever is written meanwhile; briefly: it holds off checkpoints."""
        with self._readers.lend() as connection:
            connection.execute("BEGIN")
            yield LogSnapshot(connection, self._path, self.settings.dimensions)

    def sequence(self) -> int:
        """The number of the latest change; 0 in a new collection."""
        with self._readers.lend() as connection:
            return int(connection.execute("SELECT sequence FROM collection").fetchone()[0])

    def count(self) -> int:
        """How many documents there are."""
        with self._readers.lend() as connection:
            return int(connection.execute("SELECT documents FROM collection").fetchone()[0])

    def live_rows(self) -> Iterator[LiveRow]:
        """Every live document, by row key, ascending."""
        with self._readers.lend() as connection:
            for found in connection.execute(f"SELECT {SOUND_COLUMNS} FROM documents ORDER BY row"):
                if not is_sound(found):
                    raise self._damage(named(found[0], found[1]))
                row, document_id, _, metadata, _, _ = found
                yield LiveRow(row, document_id.decode(), {} if metadata == b"{}" else json.loads(metadata))

    def vectors_after(self, row: int) -> Iterator[tuple[Sequence[int], Vectors]]:
        """Live rows above a row key with their vectors [n, D], ascending, in batches.

        Each batch is a read of its own, so that one who takes long over them does not hold off checkpoints.
        """
        while batch := self._vectors_batch(row):
            for key, blob, checksum in batch:
                if not is_sound_blob(key, blob, checksum) or len(blob) != 4 * self.settings.dimensions:
                    raise self._damage(f"the vector in row {key} is not as it was written")
            joined = np.frombuffer(b"".join(blob for _, blob, _ in batch), dtype="<f4")
            vectors = joined.astype(np.float32, copy=False).reshape(len(batch), self.settings.dimensions)
            yield [key for key, _, _ in batch], vectors
            row = batch[-1][0]

    def _vectors_batch(self, row: int) -> Sequence[tuple[int, bytes, int]]:
        query = "SELECT row, vector, checksum FROM vectors WHERE row > ? ORDER BY row LIMIT ?"
        with self._readers.lend() as connection:
            return connection.execute(query, (row, _BATCH)).fetchall()

    def records_after(self, row: int) -> Sequence[Record]:
        """The next documents above a row key, with their vectors and images, ascending; none at the end."""
        with self._readers.lend() as connection:
            return list(read_records(connection, self._path, self.settings.dimensions, row, _RECORDS))

    def records_of(self, ids: Sequence[str]) -> Sequence[Record]:
        """Those of the documents that there are, with their vectors and images."""
        with self._readers.lend() as connection:
            return [
                record
                for chunk in chunks(list(dict.fromkeys(ids)))
                for record in read_records_of(connection, self._path, self.settings.dimensions, chunk)
            ]

    def losses(self) -> Sequence[Loss]:
        """The documents that damage has cost this collection, and that were not written again since."""
        with self._readers.lend() as connection:
            return list(read_losses(connection))

    def verify(self, stopping: Callable[[], bool] = lambda: False) -> Sequence[str]:
        """Read everything there is and say what is damaged; reads and writes go on meanwhile.

        Where `stopping` comes to hold, what is returned counts for nothing.
        """
        with self._interruptible(stopping) as connection:
            return list(damage_in(connection, self.settings.dimensions))

    def check_ids(self, stopping: Callable[[], bool] = lambda: False) -> None:
        """Compare the index of ids with the documents; reads and writes go on meanwhile.

        Raises `DamagedLog` if they differ, and `StorageError` where `stopping` comes to hold.
        """
        with self._interruptible(stopping) as connection:
            for damage in id_index_damage_in(connection):
                raise self._damage(damage)
        self.ids_unchecked = False

    def backup(
        self, target: sqlite3.Connection, progress: Callable[[int, int, int], None] | None = None
    ) -> None:
        """Copy the log, as it is now, into an empty database; reads and writes go on meanwhile.

        `progress` is called often, as SQLite has it, and may raise to give up.
        """
        with self._readers.lend() as connection:
            # An open read keeps to the state at its beginning, so that writes do not restart the copy.
            connection.execute("BEGIN")
            connection.execute("SELECT sequence FROM collection").fetchone()
            connection.backup(target, pages=_PAGES, progress=progress, sleep=0)

    def close(self) -> None:
        """Close the database. No call may be running, and none may follow."""
        self._checkpointer.wait()
        if self._checkpointer.wal_bytes():
            self._checkpointer.run()
        self._journal.close()
        self._readers.close()
        self._writer.close()

    @contextmanager
    def _interruptible(self, stopping: Callable[[], bool]) -> Iterator[sqlite3.Connection]:
        with self._readers.lend() as connection:
            connection.set_progress_handler(stopping, _STEPS)
            try:
                yield connection
            finally:
                connection.set_progress_handler(None, 0)

    def _check_format(self) -> None:
        found = read_format(self._writer, self._path)
        if found != FORMAT:
            raise StorageError(
                f"The document log {self._path.name} has format {found}, and it must be migrated to format "
                f"{FORMAT} before it is opened; opening its data directory does that."
            )

    def _check_whole(self, journal: Journal | None) -> None:
        if journal is not None and journal.settings.uuid == self.settings.uuid:
            missing = journal.sequence - self.sequence()
            if missing > 0:
                raise self._damage(f"its last {missing} acknowledged changes are missing")
        size = self._path.stat().st_size + self._checkpointer.wal_bytes()
        thorough = size <= VERIFIED_AT_OPENING
        self.ids_unchecked = not thorough
        for damage in damage_in(self._writer, self.settings.dimensions, thorough=thorough):
            raise self._damage(damage)

    def _take_up(self, journal: Journal | None) -> None:
        """Go on with the journal if it is this log's and whole; otherwise begin a new one."""
        usable = journal is not None and not journal.damaged and journal.settings == self.settings
        if usable:
            self._journal.resume()
        # Journal and write-ahead log begin together, so that the one names what damage to the other costs.
        if self._checkpointer.wal_bytes():
            self._checkpointer.run()
        elif not usable or (journal is not None and journal.changes):
            self._journal.restart(self.sequence())

    def _forget_losses(self, ids: Sequence[str]) -> None:
        if self.lost:
            self._writer.executemany("DELETE FROM losses WHERE id = ?", ((name,) for name in ids))

    def _damage(self, what: str) -> DamagedLog:
        return DamagedLog(f"The document log {self._path.name} is damaged: {what}.")
