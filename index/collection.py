"""One collection: its log, its view, and the order in which they change.

A write is committed to the log, with the view of it at hand, and then shown; it returns after both. Writers
queue for one lock and hold it through the disk's work. A search takes the view alone, if the documents that
it finds there are still in the log, and otherwise a read of the log and the view of the same change; it holds
no lock that a writer waits for or holds, so it never waits for a write. What keeps the view in shape goes on
in the background (`index.upkeep`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from index.ann_training import Stopped
from index.backup import write_backup
from index.columns import Columns
from index.exact_file import EXACT_FILE
from index.filters import Filter, parse_filter
from index.locks import CallsUnderWay, CallUnderWay
from index.log import BeforeCommit, DocumentLog
from index.log_names import logged_name
from index.log_snapshot import LogSnapshot
from index.publication import Publication
from index.records import Record
from index.settings import IndexSettings
from index.snapshot import UnusableSnapshot
from index.types import (
    CollectionInfo,
    DamagedLog,
    Document,
    Hit,
    Image,
    NewDocument,
    UnknownCollection,
    Vectors,
    Verification,
)
from index.upkeep import Snapshots, Upkeep
from index.validation import check_documents, check_k, check_model, unit_vector
from index.view import Neighbours, View
from index.view_loading import restored_view, view_of_log

LOG_FILE = "documents.sqlite3"
SNAPSHOT_FILE = "view.snapshot"

# Between a commit and its view there is nothing that takes time, so a search that finds neither view is
# through after a try or two; if not, the last write was cut short, and the writers' lock mends the view.
_TRIES = 50
_TRY_AGAIN_AFTER = 0.001  # seconds

_logger = logging.getLogger(__name__)


class Collection:
    """An open collection; thread-safe. After `close` every call raises `UnknownCollection`.

    Calls that read or write documents raise `DamagedLog` where they meet damage, or the upkeep has.
    """

    def __init__(self, folder: Path, snapshot_every: int, index: IndexSettings | None = None) -> None:
        """Open the collection in a folder and bring its view up to date.

        A snapshot is written after `snapshot_every` changes, or half of the collection if that is more.
        """
        self.name = folder.name
        self._log = DocumentLog(folder / LOG_FILE)
        settings = self._log.settings
        self._calls = CallsUnderWay()
        self._writing = threading.Lock()  # held through a whole write
        self._columns = Columns(settings.dimensions)
        self._upkeep = Upkeep(
            self.name,
            self._log,
            index or IndexSettings(),
            Snapshots(folder / SNAPSHOT_FILE, settings.uuid, snapshot_every),
            lambda: self._views.current,
            self._switch,
        )
        try:
            self._views = Publication(self._load_view(folder / SNAPSHOT_FILE, index or IndexSettings()))
        except BaseException:
            self._log.close()
            raise
        self._upkeep.look()

    @property
    def info(self) -> CollectionInfo:
        """The collection as its users see it."""
        with self._open():
            return self.last_info

    @property
    def last_info(self) -> CollectionInfo:
        """The same, and once the collection is closed what it was then."""
        view, settings = self._views.current, self._log.settings
        return CollectionInfo(
            self.name,
            view.count,
            settings.dimensions,
            view.kind,
            settings.model,
            lost=self._log.lost,
            recall=view.recall,
            damage=None if self._upkeep.damage is None else str(self._upkeep.damage),
        )

    def upsert(self, documents: Sequence[NewDocument], model: str | None = None) -> None:
        """Write documents; of several with one id the last is kept. See `VectorStore.upsert`."""
        check_model(self.name, self._log.settings.model, model)
        vectors, encoded = check_documents(documents, self._log.settings.dimensions)
        last_of = {document.id: position for position, document in enumerate(documents)}
        if not last_of:
            return
        if len(last_of) < len(documents):
            kept = sorted(last_of.values())
            documents = [documents[position] for position in kept]
            encoded = [encoded[position] for position in kept]
            vectors = vectors[kept]
        with self._changing():
            self._log.upsert(documents, encoded, vectors, self._announcing(vectors))

    def delete(self, document_id: str) -> None:
        """Remove a document. Raises `UnknownDocument`."""
        with self._changing():
            self._log.delete(
                document_id, self._announcing(np.empty((0, self._log.settings.dimensions), np.float32))
            )

    def document(self, document_id: str) -> Document:
        """One document. Raises `UnknownDocument`."""
        with self._sound():
            return self._log.document(document_id)

    def image(self, document_id: str) -> Image:
        """A document's image. Raises `UnknownDocument`."""
        with self._sound():
            return self._log.image(document_id)

    def existing_ids(self, ids: Sequence[str]) -> set[str]:
        """Which of the ids the collection holds."""
        with self._sound(), self._log.snapshot() as now:
            return set(now.rows_of(ids))

    def records(self) -> Iterator[Sequence[Record]]:
        """Every document with its vector and image, by row key, in batches that are each as of one moment."""
        row = 0
        while True:
            with self._sound():
                batch = self._log.records_after(row)
            if not batch:
                return
            yield batch
            row = batch[-1].row

    def records_of(self, ids: Sequence[str]) -> Sequence[Record]:
        """Those of the documents that there are, with their vectors and images."""
        with self._sound():
            return self._log.records_of(ids)

    def backup(self, target: Path) -> None:
        """Write all documents to a file, while reads and writes go on. See `index.backup`.

        Closing does not wait for the end of it; this then raises `UnknownCollection`.
        """
        with self._sound():
            write_backup(self._log, self.name, target, self._check_open)

    def verify(self) -> Verification:
        """Read all that the disk holds and say what is damaged, while reads and writes go on.

        Closing does not wait for the end of it; this then raises `UnknownCollection`.
        """
        with self._open():
            damage = self._log.verify(lambda: self._calls.closed)
            self._check_open()
            return Verification(self.name, self._views.current.count, damage, self._log.losses())

    def search(
        self, vector: Vectors, k: int, filter: Mapping[str, Any] | None, model: str | None = None
    ) -> Sequence[Hit]:
        """The k nearest documents that pass the filter. See `VectorStore.search`."""
        check_model(self.name, self._log.settings.model, model)
        query = unit_vector(vector, self._log.settings.dimensions)
        k = check_k(k)
        condition = None if filter is None else parse_filter(filter)
        with self._sound():
            found = self._nearest_settled(query, k) if condition is None else None
            neighbours, documents = found or self._nearest(query, k, condition)
        self._upkeep.searched(query)
        hits = [
            Hit(documents[row], score) for row, score in zip(neighbours.rows, neighbours.scores, strict=True)
        ]
        if len(set(neighbours.scores)) < len(hits):  # ties go by id
            hits.sort(key=lambda hit: (-hit.score, hit.document.id))
        return hits[:k]

    def settled(self) -> CollectionInfo:
        """Wait until the view's upkeep has nothing more to do, and return what the collection is then."""
        self._upkeep.wait()
        return self.info

    def close(self, snapshot: bool = True) -> None:
        """Wait for the calls under way, write a snapshot if the view has changed, and close the log."""
        if not self._calls.close():
            return
        self._upkeep.stop()
        if snapshot and self._views.settle(self._log.sequence()):
            self._upkeep.save_if_worth_it()
        self._log.close()

    def _nearest_settled(self, query: Vectors, k: int) -> tuple[Neighbours, dict[int, Document]] | None:
        """The nearest in the current view, with their documents; None where that cannot be told.

        A view says by itself which rows are live, and a row is what it is whenever it is read: if all are
        still there, the answer is as of the view's change, at less than half the reads of `_nearest`.
        """
        view = self._views.settled
        if view is None:
            return None
        try:
            with self._log.lend() as connection:
                log = self._log.reads(connection)
                neighbours = view.search(query, k, None, log)
                return neighbours, view.documents(neighbours, log)
        except DamagedLog:  # or a row was deleted since, which a read of one change can tell from it
            return None

    def _nearest(
        self, query: Vectors, k: int, condition: Filter | None
    ) -> tuple[Neighbours, dict[int, Document]]:
        """The nearest that meet a condition, with their documents, in a read of the log."""
        with self._as_of_now() as (view, log):
            passing = None if condition is None else self._columns.passing(condition, view, log)
            neighbours = view.search(query, k, passing, log)
            return neighbours, view.documents(neighbours, log)

    @contextmanager
    def _as_of_now(self) -> Iterator[tuple[View, LogSnapshot]]:
        """The log and the view of it, as of one change."""
        for left in range(_TRIES, 0, -1):
            with self._log.snapshot() as log:
                view = self._views.at(log.sequence)
                if view is not None:
                    yield view, log
                    return
            time.sleep(0 if left > _TRIES // 2 else _TRY_AGAIN_AFTER)
        with self._writing:
            self._settle()
            with self._log.snapshot() as log:
                yield self._views.current, log

    def _announcing(self, vectors: Vectors) -> BeforeCommit:
        """Have the view of a change at hand before it can be read in the log."""

        def announce(sequence: int, rows: Sequence[int], removed: Sequence[int]) -> None:
            self._views.announce(self._views.current.changed(sequence, rows, vectors, removed))

        return announce

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold off other writers, with a view that has followed the log so far, and show what is written."""
        with self._writing, self._sound():
            self._settle()
            yield
            self._views.show()
        self._upkeep.look()

    def _settle(self) -> None:
        """Make the view of the log's latest change the current one; called with writers held off."""
        if not self._views.settle(self._log.sequence()):
            _logger.warning(
                "the view of collection %s is behind its log and is made anew", logged_name(self.name)
            )
            self._views.replace(view_of_log(self._log))

    def _switch(self, change: Callable[[View], View]) -> None:
        """Replace the newest view by what a function makes of it; for the upkeep."""
        with self._writing, self._open(Stopped):
            self._settle()
            self._views.replace(change(self._views.current))

    def _load_view(self, snapshot: Path, index: IndexSettings) -> View:
        """The log's view, by way of the snapshot if there is a usable one."""
        try:
            view, mark = restored_view(self._log, snapshot, index)
        except UnusableSnapshot as reason:
            for useless in (snapshot, snapshot.with_name(EXACT_FILE)):
                useless.unlink(missing_ok=True)
            view = view_of_log(self._log)
            if view.count:
                _logger.warning(
                    "rebuilt the view of collection %s: no usable snapshot (%s)",
                    logged_name(self.name),
                    reason,
                )
        else:
            self._upkeep.restored(mark)
        documents = self._log.count()
        if view.count != documents:
            # A damaged page above the vectors hides them from a walk, which does not notice it.
            raise DamagedLog(
                f"The document log {LOG_FILE} is damaged: it has {documents} documents, {view.count} vectors."
            )
        return view

    def _sound(self) -> CallUnderWay:
        """Be counted among the calls under way; raises `DamagedLog` for damage that the upkeep has met."""
        return self._calls.enter(self._unknown, self._check_sound)

    def _check_sound(self) -> None:
        if self._upkeep.damage is not None:
            raise DamagedLog(str(self._upkeep.damage))

    def _open(self, refusal: Callable[[], Exception] | None = None) -> CallUnderWay:
        """Be counted among the calls under way; raises `UnknownCollection` after `close`."""
        return self._calls.enter(refusal or self._unknown)

    def _check_open(self) -> None:
        if self._calls.closed:
            raise self._unknown()

    def _unknown(self) -> UnknownCollection:
        return UnknownCollection(f"No collection has the name {self.name!r}.")
