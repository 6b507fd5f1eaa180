"""Where collections and documents are. A name that would lead elsewhere is refused before any call.

A path's `..` is taken away with what stands before it by whoever sends or passes on a call, quoted or not: to
remove the document `..` would be to drop its collection.
"""

from __future__ import annotations

from urllib.parse import quote

from index.validation import is_name
from service.client.errors import InvalidName


def collection_path(name: str) -> str:
    """Where a collection is. Raises `InvalidName`."""
    if not is_name(name):
        raise InvalidName(
            f"collection: {name!r} is no collection's name. "
            "Use 1 to 64 characters of a-z, 0-9, '-' and '_', beginning with a-z or 0-9."
        )
    return f"/collections/{name}"


def document_path(collection: str, document_id: str) -> str:
    """Where a document is. Raises `InvalidName`."""
    if document_id in ("", ".", ".."):
        raise InvalidName(f"id: {document_id!r} is no document's id. Give the id of a document.")
    return f"{collection_path(collection)}/documents/{quote(document_id, safe='')}"
