"""Copying a collection from one store to another, whatever kinds they are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from index.types import CollectionInfo, NewDocument, VectorStore

# Documents of one write. A batch with large images is cut further, so that few of them are in memory.
BATCH = 1000
BATCH_BYTES = 64 * 2**20

_SAME = 1e-6  # vectors are scaled to unit length again when they are written


@dataclass(frozen=True, slots=True)
class CopiedBatch:
    """What became of some of the documents: how many were written, and how many were there already."""

    written: int
    unchanged: int


class CopySource(Protocol):
    """What can be copied from: every store, and a data directory that is only read (`index.reading`)."""

    def list(self) -> Sequence[CollectionInfo]:
        """Every collection, by name."""

    def get(self, name: str) -> CollectionInfo:
        """One collection. Raises `UnknownCollection`."""

    def export(self, name: str) -> Iterator[Sequence[NewDocument]]:
        """Every document with its vector and image, in batches. Raises `UnknownCollection`."""

    def close(self) -> None:
        """Release what is open."""


def copy_collection(source: CopySource, target: VectorStore, name: str) -> Iterator[CopiedBatch]:
    """Copy the documents of a collection, with their vectors and images, and tell of each batch.

    Documents that the target holds with the same content are left as they are, so a copy that was
    interrupted goes on where it stopped; what the target alone holds stays. Nothing may write to the
    source meanwhile. Raises `CollectionExists` if the target's collection is of another model or
    dimension, and what the stores raise.
    """
    info = source.get(name)
    target.create(name, info.dimensions, info.model)
    for exported in source.export(name):
        for batch in _batches(exported):
            held = {document.id: document for document in target.fetch(name, [d.id for d in batch])}
            missing = [d for d in batch if d.id not in held or not _is_same(d, held[d.id])]
            target.upsert(name, missing)
            yield CopiedBatch(written=len(missing), unchanged=len(batch) - len(missing))


def _batches(documents: Sequence[NewDocument]) -> Iterator[Sequence[NewDocument]]:
    batch: list[NewDocument] = []
    size = 0
    for document in documents:
        image_bytes = 0 if document.image is None else len(document.image.data)
        if batch and (len(batch) == BATCH or size + image_bytes > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(document)
        size += image_bytes
    if batch:
        yield batch


def _is_same(one: NewDocument, other: NewDocument) -> bool:
    # As JSON, since to Python 1, 1.0 and true are equal.
    return (
        (one.text, one.image) == (other.text, other.image)
        and json.dumps(one.metadata, sort_keys=True) == json.dumps(other.metadata, sort_keys=True)
        and bool(np.allclose(one.vector, other.vector, rtol=0, atol=_SAME))
    )
