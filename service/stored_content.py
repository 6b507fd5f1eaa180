"""What collections hold, compared with what a caller has."""

from __future__ import annotations

from collections.abc import Mapping

from index.types import UnknownDocument, VectorStore
from service.fingerprint import fingerprint


def missing_documents(store: VectorStore, collection: str, known: Mapping[str, str]) -> list[str]:
    """Which of the ids a collection lacks, or holds with another content than the fingerprint's.

    Reads the documents that are there, images included, which costs far less than embedding them.
    """
    present = store.existing_ids(collection, list(known))
    return [
        document_id
        for document_id, wanted in known.items()
        if document_id not in present or _stored_fingerprint(store, collection, document_id) != wanted
    ]


def _stored_fingerprint(store: VectorStore, collection: str, document_id: str) -> str | None:
    """The fingerprint of a document as it is stored; None if it is gone."""
    try:
        document = store.get_document(collection, document_id)
        image = None
        if document.image_media_type is not None:
            image = store.get_image(collection, document_id).data
    except UnknownDocument:
        return None
    return fingerprint(document.text, image, document.metadata)
