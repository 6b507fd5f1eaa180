"""Embeds a collection's documents again with the served checkpoint, and puts the result in its place.

The documents come from the store itself. Their new vectors go into a staged collection, an ordinary one
under a name of its own, which replaces the old one by a single step at the end. Until then the old one is
untouched. A document that the staged collection already holds with the same content is passed over, so a
job that was cut short, by a restart or by hand, goes on where it stopped.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from index.types import NewDocument, UnknownCollection, VectorStore
from model.errors import InputError
from model.types import Embedder, Item, Vector
from service.bulk_embedding import embed_documents
from service.fingerprint import fingerprint
from service.stored_content import missing_documents
from service.vector_space import vector_space
from service.write_hold import WriteHold

STAGED_MARK = "--rebuild-"
KEPT_FAILURES = 100
_AHEAD = 2  # batches at the engine: one is embedded while another is read or written

_Vectors = list[Vector | InputError]


class Stopped(Exception):
    """The job was told to stop; what it has done is kept for the next one."""


class NotAllEmbedded(Exception):
    """Documents cannot be embedded by the served checkpoint, so the old collection was kept."""


@dataclass(slots=True)
class RebuildProgress:
    """How far a job has come. Written by the job's thread, read by others.

    `done` counts documents that the staged collection holds, `resumed` those of them that an earlier
    job had embedded, `failed` those that the checkpoint cannot embed; the first are in `failures` as
    (id, reason).
    """

    total: int
    done: int = 0
    resumed: int = 0
    failed: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)


def staged_name(name: str) -> str:
    """The name under which a collection is rebuilt: the same each time, and a valid one for any name."""
    digest = blake2b(name.encode(), digest_size=4).hexdigest()
    return f"{name[:40]}{STAGED_MARK}{digest}"


@dataclass(slots=True)
class RebuildJob:
    """One rebuild; `run` does it on the caller's thread, and has other replicas refuse writes meanwhile.

    `batch` documents are embedded at a time. With `drop_failed`, documents that the checkpoint cannot
    embed are left out; without, they keep the old collection from being replaced.
    """

    embedder: Embedder
    store: VectorStore
    name: str
    drop_failed: bool
    batch: int
    stopping: threading.Event

    def run(self, progress: RebuildProgress) -> None:
        """Rebuild the collection.

        Raises `Stopped`, `NotAllEmbedded` and what the engine and the store raise; the old collection is
        then as it was.
        """
        with WriteHold(self.store, self.name) as hold:
            self._replace(progress, hold)

    def _replace(self, progress: RebuildProgress, hold: WriteHold) -> None:
        self._go_on(hold)
        staged = self._stage()
        with ThreadPoolExecutor(_AHEAD, thread_name_prefix=f"rebuild-{self.name}") as pool:
            waiting: deque[tuple[Sequence[NewDocument], Future[_Vectors]]] = deque()
            for documents in self._documents(hold):
                new = self._new(staged, documents, progress)
                waiting.append((new, pool.submit(embed_documents, self.embedder, [_item(d) for d in new])))
                if len(waiting) == _AHEAD:
                    self._write(staged, *waiting.popleft(), progress)
            while waiting:
                self._write(staged, *waiting.popleft(), progress)
        if progress.failed and not self.drop_failed:
            raise NotAllEmbedded(
                f"{progress.failed} documents cannot be embedded by the served checkpoint, so the collection "
                "was left as it is. Delete or shorten them, or rebuild with drop_failed to lose them."
            )
        self._remove_what_is_gone(staged, hold)
        self._go_on(hold)
        self.store.replace(self.name, staged)

    def _stage(self) -> str:
        """The staged collection's name; it is emptied if it is of another checkpoint."""
        name, info = staged_name(self.name), self.embedder.info
        space = vector_space(info)
        try:
            found = self.store.get(name)
        except UnknownCollection:
            pass
        else:
            if (found.model, found.dimensions) != (space, info.dimensions):
                self.store.drop(name)
        self.store.create(name, info.dimensions, space)
        return name

    def _documents(self, hold: WriteHold) -> Iterator[Sequence[NewDocument]]:
        for documents in self.store.export(self.name):
            remaining = iter(documents)
            while batch := list(itertools.islice(remaining, self.batch)):
                self._go_on(hold)
                yield batch

    def _new(
        self, staged: str, documents: Sequence[NewDocument], progress: RebuildProgress
    ) -> Sequence[NewDocument]:
        """Those that an earlier job has not staged with this content."""
        known = {d.id: fingerprint(d.text, d.image.data if d.image else None, d.metadata) for d in documents}
        missing = set(missing_documents(self.store, staged, known))
        progress.resumed += len(documents) - len(missing)
        progress.done += len(documents) - len(missing)
        return [document for document in documents if document.id in missing]

    def _write(
        self,
        staged: str,
        documents: Sequence[NewDocument],
        embedding: Future[_Vectors],
        progress: RebuildProgress,
    ) -> None:
        made: list[NewDocument] = []
        for document, vector in zip(documents, embedding.result(), strict=True):
            if isinstance(vector, InputError):
                progress.failed += 1
                if len(progress.failures) < KEPT_FAILURES:
                    progress.failures.append((document.id, str(vector)))
            else:
                made.append(replace(document, vector=vector))
        if made:
            self.store.upsert(staged, made)
        progress.done += len(made)

    def _remove_what_is_gone(self, staged: str, hold: WriteHold) -> None:
        """Delete from the staged collection what was deleted from the old one between two jobs."""
        for documents in self.store.export(staged):
            self._go_on(hold)
            ids = [document.id for document in documents]
            for document_id in set(ids) - self.store.existing_ids(self.name, ids):
                self.store.delete_document(staged, document_id)

    def _go_on(self, hold: WriteHold) -> None:
        """Raise `Stopped` if the job was told to stop, `CollectionHeld` if writes are not held any more."""
        if self.stopping.is_set():
            raise Stopped
        hold.check()


def _item(document: NewDocument) -> Item:
    return Item(document.text, document.image.data if document.image is not None else None)
