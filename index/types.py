"""The vocabulary of the index: documents, hits, filters' errors and the store's contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Scalar = str | int | float | bool | None

UNUSABLE = "unusable"  # the index kind of a collection that cannot be served


@dataclass(frozen=True, slots=True)
class Image:
    """An image as it was given: encoded bytes and their media type ("image/png")."""

    data: bytes = field(repr=False)
    media_type: str


@dataclass(frozen=True, slots=True)
class Document:
    """What a collection holds under an id; `image_media_type` is None when there is no image."""

    id: str
    text: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    image_media_type: str | None = None


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document to write: its vector is [D] float32, unit length."""

    id: str
    vector: Vectors
    text: str | None = None
    image: Image | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hit:
    """A neighbour: the document and the cosine similarity with the query vector."""

    document: Document
    score: float


@dataclass(frozen=True, slots=True)
class CollectionSpace:
    """What vectors a collection takes: how long they are, and which checkpoint made them."""

    name: str
    dimensions: int
    model: str


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A collection as its users see it; `model` names the checkpoint that made its vectors."""

    name: str
    count: int
    dimensions: int
    index_kind: str
    model: str
    lost: int = 0  # documents that damage has cost it, and that were not written again since
    # Recall@10 against exact search, as last measured: 1 where search is exact, None where nobody measures.
    recall: float | None = field(default=None, compare=False)
    # Why it cannot be served, or what damage was met that the next call to its documents will have mended.
    damage: str | None = None


@dataclass(frozen=True, slots=True)
class Loss:
    """What damage has cost a collection, and when that was noticed (ISO 8601).

    One document by its id, or `documents` of them (at most so many) whose ids were lost as well.
    """

    id: str | None
    reason: str
    noticed: str
    documents: int = 1


@dataclass(frozen=True, slots=True)
class Verification:
    """What a walk over everything that the disk holds of a collection has found.

    `documents` is how many were live; `damage` says what is wrong, in words, and is empty if nothing is;
    `losses` are the documents that earlier damage has cost it.
    """

    name: str
    documents: int
    damage: Sequence[str]
    losses: Sequence[Loss]


class StoreError(Exception):
    """Base of what the index raises on purpose."""


class UnknownCollection(StoreError):
    """No collection has that name."""


class CollectionExists(StoreError):
    """A collection of that name exists with other settings."""


class OtherModel(StoreError):
    """Vectors of one model were to be written to a collection of another."""


class CollectionHeld(StoreError):
    """The collection is being rebuilt, maybe by another process; what is refused counts as not written."""


class UnknownDocument(StoreError):
    """No document has that id."""


class InvalidInput(StoreError):
    """A name, vector, metadata value or filter that the index refuses.

    `field` names the offending part ("vector", "filter.year.gte", "metadata", "k", "name", "id"), `message`
    what is wrong with it, a sentence that begins with the field or stands by itself, and `mend` what to do.
    """

    def __init__(self, field: str, message: str, mend: str) -> None:
        super().__init__(f"{message} {mend}")
        self.field, self.message, self.mend = field, message, mend


class StorageError(StoreError):
    """The disk refused a write (full, read-only); nothing of the call was acknowledged."""


class DamagedLog(StorageError):
    """What the disk holds of a collection is not what was written to it; the message says what."""


class MissingLog(DamagedLog):
    """A collection's log is not where it should be; it may be put back."""


class NewerFormat(StorageError):
    """A log was written by a newer version, and is for that."""


class StoreUnreachable(StorageError):
    """The store's server does not answer. What was asked may be done or not; asking again is harmless."""


class UnusableCollection(StorageError):
    """The collection is there and cannot be served: damaged beyond salvage, or of a newer format."""


class DataDirectoryLocked(StoreError):
    """Another process has the data directory open."""


@runtime_checkable
class KeptInFiles(Protocol):
    """What a store can do besides if its collections are files of its own: backups, and verifying them."""

    def backup(self, name: str, target: Path) -> None:
        """Write a collection to a file, as it is when this begins; reads and writes go on meanwhile.

        Raises `UnknownCollection`, and `StorageError` for what the disk refuses.
        """

    def restore(self, backup: Path, name: str | None = None, *, replace: bool = False) -> CollectionInfo:
        """Make a collection of a backup, all or nothing; under its own name if none is given.

        Raises `CollectionExists` unless `replace`, `InvalidInput` for a file that is no backup or is
        damaged, and `StorageError`.
        """

    def verify(self, name: str, *, repair: bool = False) -> Verification:
        """Read all that the disk holds of a collection; with `repair`, salvage a damaged one."""

    def staged_file(self) -> Path:
        """A path for a file that is on its way in or out, on the store's disk; gone with the next opening."""


class VectorStore(Protocol):
    """Named collections of documents and their vectors; implementations are thread-safe."""

    def create(self, name: str, dimensions: int, model: str) -> CollectionInfo:
        """Make a collection, or return it if it exists with the same settings.

        Raises `CollectionExists` if its dimensions or model differ, `InvalidInput` for a bad name.
        """

    def list(self) -> Sequence[CollectionInfo]:
        """Every collection, by name."""

    def get(self, name: str) -> CollectionInfo:
        """One collection. Raises `UnknownCollection`."""

    def space(self, name: str) -> CollectionSpace:
        """What vectors a collection takes; unlike `get` it counts nothing. Raises `UnknownCollection`."""

    def drop(self, name: str) -> None:
        """Remove a collection and its documents from disk. Raises `UnknownCollection`."""

    def upsert(self, name: str, documents: Sequence[NewDocument], model: str | None = None) -> None:
        """Write documents; when it returns they are on disk and searchable. All or nothing.

        `model` says what made the vectors, where the caller is not sure that the collection is still of
        the model that it was. Raises `OtherModel`, and `CollectionHeld` (see `hold_writes`).
        """

    def hold_writes(self, name: str, seconds: float, holder: str) -> None:
        """Have every other process refuse writes to a collection for so long from now; 0 allows them again.

        A write that is acknowledged has come before the hold, or after it. `holder` is who holds, in a word
        that nobody else uses: while one holds, others are refused with `CollectionHeld`, and what they would
        allow again stays held. For a store that one process has for itself there is nothing to do: it
        orders its own writes.
        """

    def delete_document(self, name: str, document_id: str) -> None:
        """Remove a document; when it returns, disk and search no longer have it. Raises `UnknownDocument`."""

    def get_document(self, name: str, document_id: str) -> Document:
        """One document. Raises `UnknownDocument`."""

    def get_image(self, name: str, document_id: str) -> Image:
        """A document's image as it was given. Raises `UnknownDocument` if it has none."""

    def existing_ids(self, name: str, ids: Sequence[str]) -> set[str]:
        """Which of the ids the collection holds (lets ingestion skip what is done)."""

    def export(self, name: str) -> Iterator[Sequence[NewDocument]]:
        """Every document with its vector and image, in batches and in an order that stays the same.

        A document that is written or deleted meanwhile may be among them or not. Raises
        `UnknownCollection`.
        """

    def fetch(self, name: str, ids: Sequence[str]) -> Sequence[NewDocument]:
        """Those of the documents that the collection holds, with vectors and images, in no certain order."""

    def replace(self, name: str, replacement: str) -> None:
        """Give the collection `replacement` the name of another, which is dropped, in one atomic step.

        Raises `UnknownCollection` if either is missing.
        """

    def search(
        self,
        name: str,
        vector: Vectors,
        k: int,
        filter: Mapping[str, Any] | None = None,
        model: str | None = None,
    ) -> Sequence[Hit]:
        """The k nearest documents that pass the filter, best first, ties by id.

        `vector` is [D] and need not be unit length; `model` is what made it, None if that is not known.
        Raises `UnknownCollection`, `OtherModel`, and `InvalidInput` for a wrong dimension, k out of 1..1000
        or a malformed filter.
        """

    def close(self) -> None:
        """Write snapshots and release the data directory."""
