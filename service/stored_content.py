"""What collections hold, compared with what a caller has."""

from __future__ import annotations

from collections.abc import Mapping

from index.types import VectorStore
from service.fingerprint import fingerprint

_READ_AT_ONCE = 16  # few, because each may have an image; a call for each costs a network's round trip


def missing_documents(store: VectorStore, collection: str, known: Mapping[str, str]) -> list[str]:
    """Which of the ids a collection lacks, or holds with another content than the fingerprint's.

    Reads the documents that are there, images included, which costs far less than embedding them.
    """
    same: set[str] = set()
    ids = list(known)
    for start in range(0, len(ids), _READ_AT_ONCE):
        for document in store.fetch(collection, ids[start : start + _READ_AT_ONCE]):
            image = None if document.image is None else document.image.data
            if fingerprint(document.text, image, document.metadata) == known[document.id]:
                same.add(document.id)
    return [document_id for document_id in ids if document_id not in same]
