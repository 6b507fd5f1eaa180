"""One collection: its log, its view, and the order in which they change.

A write is committed to the log first and then shown in the view; it returns after both. Writers queue
for one lock and hold it through the disk's work. Searches share the view's lock and wait for no disk
write: only the moment in which the view changes is a writer's alone.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from index.backup import write_backup
from index.filters import Filter, parse_filter
from index.locks import ReadWriteLock
from index.log import DocumentLog
from index.records import Record
from index.snapshot import Snapshot, UnusableSnapshot, read_snapshot, write_snapshot
from index.types import (
    CollectionInfo,
    Document,
    Hit,
    Image,
    NewDocument,
    UnknownCollection,
    UnknownDocument,
    Vectors,
    Verification,
)
from index.validation import check_documents, check_k, unit_vector
from index.view import FLAT, Neighbour, View

LOG_FILE = "documents.sqlite3"
SNAPSHOT_FILE = "view.snapshot"

_logger = logging.getLogger(__name__)


class Collection:
    """An open collection; thread-safe. After `close` every call raises `UnknownCollection`."""

    def __init__(self, folder: Path, snapshot_every: int) -> None:
        """Open the collection in a folder and bring its view up to date.

        A snapshot is written after `snapshot_every` changes, or a quarter of the collection if that is more.
        """
        self.name = folder.name
        self._snapshot_path = folder / SNAPSHOT_FILE
        self._snapshot_every = snapshot_every
        self._log = DocumentLog(folder / LOG_FILE)
        self._writing = threading.Lock()  # held through a whole write
        self._showing = ReadWriteLock()  # guards the view; taken after `_writing` where both are
        self._snapshotting: threading.Thread | None = None
        self._closed = False
        try:
            self._view = self._load_view()
        except BaseException:
            self._log.close()
            raise

    @property
    def info(self) -> CollectionInfo:
        """The collection as its users see it."""
        with self._reading():
            settings = self._log.settings
            return CollectionInfo(
                self.name,
                self._view.count,
                settings.dimensions,
                self._view.kind,
                settings.model,
                lost=self._log.lost,
            )

    def upsert(self, documents: Sequence[NewDocument]) -> None:
        """Write documents; of several with one id the last is kept. See `VectorStore.upsert`."""
        vectors, encoded = check_documents(documents, self._log.settings.dimensions)
        last_of = {document.id: position for position, document in enumerate(documents)}
        if not last_of:
            return
        kept = sorted(last_of.values())
        documents = [documents[position] for position in kept]
        encoded = [encoded[position] for position in kept]
        vectors = vectors[kept]
        metadata = [json.loads(text) for text in encoded]  # the view's own copy
        with self._changing():
            rows = self._log.upsert(documents, encoded, vectors)
            with self._showing.write():
                self._view.put(rows, [document.id for document in documents], metadata, vectors)

    def delete(self, document_id: str) -> None:
        """Remove a document. Raises `UnknownDocument`."""
        with self._changing():
            if document_id not in self._view:
                raise UnknownDocument(f"No document has the id {document_id!r}.")
            sequence = self._log.delete(document_id)
            with self._showing.write():
                self._view.remove(document_id, sequence)

    def document(self, document_id: str) -> Document:
        """One document. Raises `UnknownDocument`."""
        with self._reading():
            return self._log.document(document_id)

    def image(self, document_id: str) -> Image:
        """A document's image. Raises `UnknownDocument`."""
        with self._reading():
            return self._log.image(document_id)

    def existing_ids(self, ids: Sequence[str]) -> set[str]:
        """Which of the ids the collection holds."""
        with self._reading():
            return {document_id for document_id in ids if document_id in self._view}

    def search(self, vector: Vectors, k: int, filter: Mapping[str, Any] | None) -> Sequence[Hit]:
        """The k nearest documents that pass the filter. See `VectorStore.search`."""
        query = unit_vector(vector, self._log.settings.dimensions)
        k = check_k(k)
        condition = None if filter is None else parse_filter(filter)
        with self._reading():
            hits = self._hits(query, k, condition)
        if hits is None:
            # A write that is not yet in the view removed a neighbour from the log; let it finish.
            with self._changing():
                hits = self._hits(query, k, condition)
        return hits or []

    def records(self) -> Iterator[Sequence[Record]]:
        """Every document with its vector and image, by row key, in batches that are each as of one moment."""
        row = 0
        while True:
            with self._reading():
                batch = self._log.records_after(row)
            if not batch:
                return
            yield batch
            row = batch[-1].row

    def backup(self, target: Path) -> None:
        """Write all documents to a file, while reads and writes go on. See `index.backup`."""
        self._check_open()
        write_backup(self._log, self.name, target)

    def verify(self) -> Verification:
        """Read all that the disk holds and say what is damaged, while reads and writes go on."""
        self._check_open()
        return Verification(self.name, self._view.count, self._log.verify(), self._log.losses())

    def close(self, snapshot: bool = True) -> None:
        """Wait for the calls under way, write a snapshot if the view has changed, and close the log."""
        with self._writing:
            if self._closed:
                return
            with self._showing.write():
                self._closed = True
        if self._snapshotting is not None:
            self._snapshotting.join()
        if snapshot and self._view.sequence == self._log.sequence() != self._snapshot_sequence:
            self._write_snapshot(self._view.snapshot())
        self._log.close()

    def _hits(self, query: Vectors, k: int, condition: Filter | None) -> list[Hit] | None:
        """Search the view and fetch its neighbours from the log; None if one of them is gone from there."""
        neighbours: list[Neighbour] = self._view.search(query, k, condition)
        documents = self._log.documents_by_row([neighbour.row for neighbour in neighbours])
        if len(documents) < len(neighbours):
            return None
        return [Hit(documents[neighbour.row], neighbour.score) for neighbour in neighbours]

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._showing.read():
            self._check_open()
            yield

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold off other writers, with a view that has followed the log so far."""
        with self._writing:
            self._check_open()
            if self._view.sequence != self._log.sequence():
                self._rebuild()  # the last write was cut short between the log and the view
            yield
            self._snapshot_if_due()

    def _check_open(self) -> None:
        if self._closed:
            raise UnknownCollection(f"No collection has the name {self.name!r}.")

    def _rebuild(self) -> None:
        view = self._view_of_log(None)
        with self._showing.write():
            self._view = view

    def _load_view(self) -> View:
        """Return the log's view, by way of the snapshot if there is a usable one."""
        self._snapshot_sequence = -1
        try:
            snapshot = self._read_snapshot()
            view = self._view_of_log(snapshot)
        except UnusableSnapshot as reason:
            self._snapshot_path.unlink(missing_ok=True)
            view = self._view_of_log(None)
            if view.count:
                _logger.warning(
                    "rebuilt the view of collection %s: no usable snapshot (%s)", self.name, reason
                )
        else:
            self._snapshot_sequence = snapshot.header.sequence
        return view

    def _read_snapshot(self) -> Snapshot:
        snapshot = read_snapshot(self._snapshot_path)
        settings = self._log.settings
        header = snapshot.header
        if (header.collection, header.dimensions, header.kind) != (settings.uuid, settings.dimensions, FLAT):
            raise UnusableSnapshot("it is of another collection")
        if header.sequence > self._log.sequence():
            raise UnusableSnapshot("it is newer than the log, which must have been restored from a backup")
        return snapshot

    def _view_of_log(self, snapshot: Snapshot | None) -> View:
        settings = self._log.settings
        live = {found.row: (found.id, found.metadata) for found in self._log.live_rows()}
        view = View(settings.uuid, settings.dimensions)
        if snapshot is not None:
            index = snapshot.load_index()
            known = set(snapshot.rows.tolist())
            if any(row <= snapshot.header.sequence and row not in known for row in live):
                raise UnusableSnapshot("it lacks documents of its time")
            view.restore(snapshot, index, live)
        for rows, vectors in self._log.vectors_after(view.sequence):
            found = [live[row] for row in rows]
            view.put(rows, [document_id for document_id, _ in found], [data for _, data in found], vectors)
        view.sequence = self._log.sequence()
        return view

    def _snapshot_if_due(self) -> None:
        """Start a snapshot in the background; called with writers held off."""
        changes = self._view.sequence - max(self._snapshot_sequence, 0)
        if changes < max(self._snapshot_every, self._view.count // 4):
            return
        if self._snapshotting is not None and self._snapshotting.is_alive():
            return
        self._snapshotting = threading.Thread(
            target=self._snapshot_in_background, name=f"snapshot-{self.name}", daemon=True
        )
        self._snapshotting.start()

    def _snapshot_in_background(self) -> None:
        with self._showing.read():
            snapshot = self._view.snapshot()
        self._write_snapshot(snapshot)

    def _write_snapshot(self, snapshot: Snapshot) -> None:
        """Write a snapshot; a disk that refuses costs only a slower start, so it is logged and no more."""
        try:
            write_snapshot(self._snapshot_path, snapshot)
        except OSError as error:
            _logger.warning("no snapshot of collection %s: %s", self.name, error)
        else:
            self._snapshot_sequence = snapshot.header.sequence
