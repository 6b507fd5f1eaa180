"""The vector store on one machine: FAISS views over SQLite logs, in one data directory.

    data_dir/lock                    held while a process has the directory open
    data_dir/collections/<name>/     documents.sqlite3 (the truth), view.snapshot (a cache of it)
    data_dir/staging/                collections being made
    data_dir/trash/                  collections being removed

A collection appears and disappears by one rename. What a crash left in staging and trash is removed at
the next open.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from index.collection import LOG_FILE, Collection
from index.files import empty_directory, make_directory, move
from index.locks import DirectoryLock
from index.log import DocumentLog
from index.types import (
    CollectionExists,
    CollectionInfo,
    Document,
    Hit,
    Image,
    NewDocument,
    StorageError,
    UnknownCollection,
    Vectors,
)
from index.validation import check_dimensions, check_name, check_text, is_name

SNAPSHOT_EVERY = 10_000

_logger = logging.getLogger(__name__)


class FaissStore:
    """A `VectorStore` in a directory that it holds for itself until `close`."""

    def __init__(self, data_dir: Path, snapshot_every: int = SNAPSHOT_EVERY) -> None:
        """Open a data directory, made if missing, and every collection in it.

        `snapshot_every` is the least number of changes to a collection between two snapshots of its view.
        Raises `DataDirectoryLocked` if another process has it open, `StorageError` if it cannot be used.
        """
        self._snapshot_every = snapshot_every
        self._changing = threading.Lock()  # held while the set of collections changes
        self._open: dict[str, Collection] = {}
        self._collections_dir = data_dir / "collections"
        self._staging_dir = data_dir / "staging"
        self._trash_dir = data_dir / "trash"
        with _storage_errors():
            make_directory(data_dir)
        self._lock = DirectoryLock(data_dir)
        try:
            with _storage_errors():
                self._open_collections()
        except BaseException:
            self.close()
            raise

    def create(self, name: str, dimensions: int, model: str) -> CollectionInfo:
        """Make a collection, or return the one that exists with the same settings. See `VectorStore`."""
        check_name(name)
        check_dimensions(dimensions)
        check_text(model, "model")
        with self._changing:
            if name not in self._open:
                with _storage_errors():
                    self._make(name, dimensions, model)
            info = self._open[name].info
        if (info.dimensions, info.model) != (dimensions, model):
            raise CollectionExists(
                f"The collection {name!r} exists with {info.dimensions} dimensions of the model "
                f"{info.model!r}; use another name, or drop it first."
            )
        return info

    def list(self) -> Sequence[CollectionInfo]:
        """Every collection, by name."""
        with self._changing:
            return [collection.info for _, collection in sorted(self._open.items())]

    def get(self, name: str) -> CollectionInfo:
        """One collection. Raises `UnknownCollection`."""
        return self._collection(name).info

    def drop(self, name: str) -> None:
        """Remove a collection and its documents from disk. Raises `UnknownCollection`."""
        with self._changing:
            self._collection(name).close(snapshot=False)
            folder = self._collections_dir / name
            doomed = self._trash_dir / uuid.uuid4().hex
            try:
                with _storage_errors():
                    move(folder, doomed)
            finally:
                # A rename that was refused leaves the collection as it was.
                if folder.exists():
                    self._open[name] = Collection(folder, self._snapshot_every)
                else:
                    del self._open[name]
            empty_directory(self._trash_dir)

    def upsert(self, name: str, documents: Sequence[NewDocument]) -> None:
        """Write documents; when it returns they are on disk and searchable. See `VectorStore`."""
        self._collection(name).upsert(documents)

    def delete_document(self, name: str, document_id: str) -> None:
        """Remove a document. Raises `UnknownDocument`."""
        self._collection(name).delete(document_id)

    def get_document(self, name: str, document_id: str) -> Document:
        """One document. Raises `UnknownDocument`."""
        return self._collection(name).document(document_id)

    def get_image(self, name: str, document_id: str) -> Image:
        """A document's image as it was given. Raises `UnknownDocument` if it has none."""
        return self._collection(name).image(document_id)

    def existing_ids(self, name: str, ids: Sequence[str]) -> set[str]:
        """Which of the ids the collection holds."""
        return self._collection(name).existing_ids(ids)

    def search(
        self, name: str, vector: Vectors, k: int, filter: Mapping[str, Any] | None = None
    ) -> Sequence[Hit]:
        """The k nearest documents that pass the filter. See `VectorStore` and `index.filters`."""
        return self._collection(name).search(vector, k, filter)

    def close(self) -> None:
        """Write snapshots and release the data directory. Closing twice is harmless."""
        with self._changing:
            try:
                for collection in self._open.values():
                    collection.close()
            finally:
                self._open.clear()
                self._lock.release()

    def _collection(self, name: str) -> Collection:
        try:
            return self._open[check_name(name)]
        except KeyError:
            raise UnknownCollection(f"No collection has the name {name!r}.") from None

    def _open_collections(self) -> None:
        for directory in (self._collections_dir, self._staging_dir, self._trash_dir):
            make_directory(directory)
        empty_directory(self._staging_dir)
        empty_directory(self._trash_dir)
        for folder in sorted(self._collections_dir.iterdir()):
            if is_name(folder.name) and (folder / LOG_FILE).is_file():
                self._open[folder.name] = Collection(folder, self._snapshot_every)
            else:
                _logger.warning("passed over %s in the data directory: not a collection", folder.name)

    def _make(self, name: str, dimensions: int, model: str) -> None:
        staged = self._staging_dir / uuid.uuid4().hex
        make_directory(staged)
        DocumentLog.create(staged / LOG_FILE, dimensions, model)
        folder = self._collections_dir / name
        move(staged, folder)
        self._open[name] = Collection(folder, self._snapshot_every)


@contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"The data directory cannot be written: {error}.") from error
