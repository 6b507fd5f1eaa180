"""The vector store on one machine: FAISS views over SQLite logs, in one data directory.

    data_dir/lock                    held while a process has the directory open
    data_dir/collections/<name>/     documents.sqlite3 (the truth), changes.journal (a check on it),
                                     view.snapshot and segment.vectors (caches of it)
    data_dir/staging/, trash/, damaged/: see `index.folders`

A collection whose files turn out to be damaged, at opening or in any call, is salvaged: what is sound goes
into a new log, what is not is named, and the call is made again; damage that its upkeep meets is told in
`list` and mended by the next call. One that cannot be salvaged is listed as unusable and refuses its calls,
as does one that the disk will not let be opened, until it does (`index.unusable`); the others are open. What
makes, removes or exchanges a collection holds its name, however long that takes, and no other: calls on the
other collections, and the list of all, go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from index.backup import read_label, restore_backup
from index.collection import LOG_FILE, Collection
from index.files import make_directory
from index.folders import Folders
from index.locks import DirectoryLock, NameLocks
from index.log import DocumentLog
from index.recovery import open_collection, salvage_collection
from index.settings import IndexSettings
from index.types import (
    CollectionExists,
    CollectionInfo,
    CollectionSpace,
    DamagedLog,
    Document,
    Hit,
    Image,
    InvalidInput,
    NewDocument,
    StorageError,
    UnknownCollection,
    Vectors,
    Verification,
)
from index.unusable import UnusableCollections
from index.validation import check_dimensions, check_name, check_text

SNAPSHOT_EVERY = 10_000

_Answer = TypeVar("_Answer")


class FaissStore:
    """A `VectorStore` in a directory that it holds for itself until `close`."""

    def __init__(
        self, data_dir: Path, snapshot_every: int = SNAPSHOT_EVERY, index: IndexSettings | None = None
    ) -> None:
        """Open a data directory, made if missing, and every collection in it.

        `snapshot_every` is the least number of changes to a collection between two snapshots of its view;
        `index` says how a collection's index is chosen.
        Raises `DataDirectoryLocked` if another process has it open, `StorageError` if it cannot be used.
        """
        self._snapshot_every = snapshot_every
        self._index = index or IndexSettings()
        self._names = NameLocks()  # whoever changes the entries of a name below holds it
        self._open: dict[str, Collection] = {}
        self._unusable = UnusableCollections(self._try_again)
        with _storage_errors(data_dir):
            make_directory(data_dir)
        self._lock = DirectoryLock(data_dir)
        try:
            with _storage_errors(data_dir):
                self._folders = Folders(data_dir)
                for name in self._folders.names():
                    self._open_or_report(name)
        except BaseException:
            self.close()
            raise

    def create(self, name: str, dimensions: int, model: str) -> CollectionInfo:
        """Make a collection, or return the one that exists with the same settings. See `VectorStore`."""
        check_name(name)
        check_dimensions(dimensions)
        check_text(model, "model")
        with self._names.holding(name):
            self._unusable.check(name)
            if name not in self._open:
                with _storage_errors(), self._folders.staged() as staged:
                    DocumentLog.create(staged / LOG_FILE, dimensions, model)
                    self._folders.place(staged, name)
                    try:
                        self._open[name] = self._opened(name)
                    except BaseException:
                        self._folders.remove(name)  # the caller is told that there is no such collection
                        raise
            info = self._open[name].info
        if (info.dimensions, info.model) != (dimensions, model):
            raise CollectionExists(
                f"The collection {name!r} exists with {info.dimensions} dimensions of the model "
                f"{info.model!r}; use another name, or drop it first."
            )
        return info

    def list(self) -> Sequence[CollectionInfo]:
        """Every collection, by name; those that cannot be served have the index kind "unusable".

        One that is being salvaged or exchanged is listed as it was before.
        """
        before = self._unusable.infos()  # twice: one that opens or closes meanwhile is in either place
        served = {name: collection.last_info for name, collection in self._open.copy().items()}
        infos = before | self._unusable.infos() | served
        return sorted(infos.values(), key=lambda info: info.name)

    def get(self, name: str) -> CollectionInfo:
        """One collection. Raises `UnknownCollection`."""
        return self._on(name, lambda collection: collection.info)

    def space(self, name: str) -> CollectionSpace:
        """What vectors a collection takes. Raises `UnknownCollection`."""
        info = self.get(name)
        return CollectionSpace(name, info.dimensions, info.model)

    def drop(self, name: str) -> None:
        """Remove a collection and its documents from disk. Raises `UnknownCollection`."""
        check_name(name)
        with self._names.holding(name):
            if name not in self._unusable:
                self._collection(name).close(snapshot=False)
            try:
                with _storage_errors():
                    self._folders.remove(name)
            finally:
                self._reopen(name)  # a rename that was refused leaves the collection as it was

    def upsert(self, name: str, documents: Sequence[NewDocument], model: str | None = None) -> None:
        """Write documents; when it returns they are on disk and searchable. See `VectorStore`."""
        self._on(name, lambda collection: collection.upsert(documents, model))

    def hold_writes(self, name: str, seconds: float, holder: str) -> None:
        """No other process can write. See `VectorStore`."""

    def delete_document(self, name: str, document_id: str) -> None:
        """Remove a document. Raises `UnknownDocument`."""
        self._on(name, lambda collection: collection.delete(document_id))

    def get_document(self, name: str, document_id: str) -> Document:
        """One document. Raises `UnknownDocument`."""
        return self._on(name, lambda collection: collection.document(document_id))

    def get_image(self, name: str, document_id: str) -> Image:
        """A document's image as it was given. Raises `UnknownDocument` if it has none."""
        return self._on(name, lambda collection: collection.image(document_id))

    def existing_ids(self, name: str, ids: Sequence[str]) -> set[str]:
        """Which of the ids the collection holds."""
        return self._on(name, lambda collection: collection.existing_ids(ids))

    def search(
        self,
        name: str,
        vector: Vectors,
        k: int,
        filter: Mapping[str, Any] | None = None,
        model: str | None = None,
    ) -> Sequence[Hit]:
        """The k nearest documents that pass the filter. See `VectorStore` and `index.filters`."""
        return self._on(name, lambda collection: collection.search(vector, k, filter, model))

    def export(self, name: str) -> Iterator[Sequence[NewDocument]]:
        """Every document with its vector and image, in batches, by when it was written. See `VectorStore`."""
        collection = self._collection(name)
        try:
            for batch in collection.records():
                yield [record.document() for record in batch]
        except DamagedLog as damage:
            self._mend(name, collection, damage)  # for the next export; this one is not whole
            raise

    def fetch(self, name: str, ids: Sequence[str]) -> Sequence[NewDocument]:
        """Those of the documents that the collection holds, with vectors and images. See `VectorStore`."""
        return [record.document() for record in self._on(name, lambda found: found.records_of(ids))]

    def replace(self, name: str, replacement: str) -> None:
        """Give the collection `replacement` the name of another, which is dropped. See `VectorStore`."""
        check_name(replacement)
        with self._names.holding(name, replacement):
            self._collection(name)
            self._collection(replacement).close()
            del self._open[replacement]
            try:
                self._swap(name, lambda: self._folders.rename(replacement, name))
            finally:
                self._reopen(replacement)  # if the disk refused

    def backup(self, name: str, target: Path) -> None:
        """Write a collection, as it is when this begins, to a file that `restore` reads.

        Reads and writes go on meanwhile. The file is there whole or not at all. Raises
        `UnknownCollection`, and `StorageError` for what the disk refuses.
        """
        self._on(name, lambda collection: collection.backup(target))

    def restore(self, backup: Path, name: str | None = None, *, replace: bool = False) -> CollectionInfo:
        """Make a collection of a backup, under its own name unless another is given.

        Every row is checked and written anew; the collection appears, or takes the old one's place, at
        once and whole. Needs free disk for the backup's documents. Raises `CollectionExists` unless
        `replace`, `InvalidInput` for a file that is no backup or is damaged, `StorageError`.
        """
        label = read_label(backup)
        name = name or (label.collection if label is not None else None)
        if name is None:
            raise InvalidInput(
                "name", "name is missing: the backup does not say whose it is.", "Give a name."
            )
        self._check_free(check_name(name), replace)
        with _storage_errors(), self._folders.staged() as staged:
            restore_backup(backup, staged / LOG_FILE)
            with self._names.holding(name):
                self._check_free(name, replace)
                self._swap(name, lambda: self._folders.replace(staged, name))
        return self.get(name)

    def staged_file(self) -> Path:
        """A path for a file on its way in or out. See `KeptInFiles`."""
        return self._folders.staged_file()

    def verify(self, name: str, *, repair: bool = False) -> Verification:
        """Read all that the disk holds of a collection and say what is damaged and what was lost.

        Reads and writes go on meanwhile. With `repair`, a damaged collection is salvaged at once; it would
        be at the next opening, or when a call meets the damage. Raises `UnknownCollection`, and
        `UnusableCollection` for one that the disk refuses to open, of which nothing is known.
        """
        final = self._unusable.final_reason(check_name(name))
        if final is not None:
            return Verification(name, 0, [final], [])
        found = self._on(name, lambda collection: collection.verify())
        if found.damage and repair:
            self._mend(name, self._collection(name), DamagedLog("; ".join(found.damage[:3]) + "."))
            losses = self._collection(name).verify().losses
            return Verification(name, found.documents, found.damage, losses)
        return found

    def close(self) -> None:
        """Write snapshots and release the data directory. Closing twice is harmless."""
        self._unusable.close()
        with self._names.holding_all():
            try:
                for collection in self._open.values():
                    collection.close()
            finally:
                self._open.clear()
                self._lock.release()

    def _collection(self, name: str) -> Collection:
        try:
            return self._open[name]
        except (KeyError, TypeError):  # TypeError: it cannot even be hashed
            self._unusable.check(check_name(name))
            if name in self._open:  # since a moment
                return self._open[name]
            raise UnknownCollection(f"No collection has the name {name!r}.") from None

    def _on(self, name: str, call: Callable[[Collection], _Answer]) -> _Answer:
        """Call on a collection; once more if it was replaced meanwhile, or was damaged and is mended."""
        collection = self._collection(name)
        try:
            return call(collection)
        except DamagedLog as damage:
            self._mend(name, collection, damage)
        except UnknownCollection:
            with self._names.holding(name):  # waits for whoever is replacing it
                if self._collection(name) is collection:
                    raise
        return call(self._collection(name))

    def _mend(self, name: str, collection: Collection, damage: DamagedLog) -> None:
        """Salvage an open collection, unless another call has done so since."""
        with self._names.holding(name):
            if self._open.get(name) is collection:
                self._swap(name, lambda: salvage_collection(self._folders, name, damage))

    def _swap(self, name: str, exchange: Callable[[], None]) -> None:
        """Close a collection if there is one, exchange its folder, and open what is there then."""
        collection = self._open.get(name)
        if collection is not None:
            collection.close(snapshot=False)
        try:
            with _storage_errors():
                exchange()
        finally:
            self._reopen(name)
        self._unusable.check(name)

    def _reopen(self, name: str) -> None:
        """Open what is in a collection's folder by now; calls find the closed one, and wait, until then."""
        if self._folders.folder(name).exists():
            self._open_or_report(name)
        else:
            self._open.pop(name, None)
            self._unusable.opened(name)

    def _try_again(self, name: str) -> None:
        with self._names.holding(name):
            if name not in self._unusable:
                return  # somebody has dropped or replaced it meanwhile
            try:
                self._folders.finish(name)
            except OSError as error:
                self._unusable.refused(name, error)
            else:
                self._open_or_report(name)  # and not `_reopen`: a folder that is gone may come back

    def _open_or_report(self, name: str) -> None:
        try:
            opened = self._opened(name)
        except (StorageError, OSError) as error:
            self._unusable.refused(name, error)
            self._open.pop(name, None)
        else:
            self._open[name] = opened
            self._unusable.opened(name)

    def _opened(self, name: str) -> Collection:
        return open_collection(self._folders, name, self._collection_in)

    def _collection_in(self, folder: Path) -> Collection:
        return Collection(folder, self._snapshot_every, self._index)

    def _check_free(self, name: str, replace: bool) -> None:
        if not replace and (name in self._open or name in self._unusable):
            raise CollectionExists(
                f"The collection {name!r} exists; ask for it to be replaced, or restore under another name."
            )


@contextmanager
def _storage_errors(directory: Path | None = None) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # the directory is named at opening only: later, callers of the server read this
        named = f"The data directory {directory}" if directory is not None else "The data directory"
        raise StorageError(f"{named} cannot be written: {error.strerror or error}.") from error
