"""What callers hand in: items to embed and documents to add, images as bytes, files or addresses."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.errors import InputError
from service.client.outcomes import Failure
from service.fingerprint import content_id, fingerprint
from service.images import media_type

Image = bytes | Path | str
"""Encoded bytes (JPEG, PNG, WebP, GIF), a file, or an https address or data URI as the server takes it."""

ItemBody = str | dict[str, str]
"""An item as the API takes it."""

_OVERHEAD = 256  # bytes of JSON around an item's parts, about


@dataclass(frozen=True, slots=True)
class Item:
    """A text, an image, or both together."""

    text: str | None = None
    image: Image | None = field(default=None, repr=False)

    def body(self) -> dict[str, str]:
        """The item as the API takes it. Raises OSError for an unreadable file, ValueError for no image."""
        parts = {} if self.text is None else {"text": self.text}
        if self.image is not None:
            parts["image"] = reference(self.image)
        return parts


@dataclass(frozen=True, slots=True)
class Document:
    """A document to add; without an id it gets one that follows from its content."""

    text: str | None = None
    image: Image | None = field(default=None, repr=False)
    id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PreparedDocument:
    """A document ready to be sent: its id, about how many bytes it takes, and what tells its content.

    `fingerprint` is None where the image lies at an address, so that only the server can read it.
    """

    source: str
    id: str
    own_id: bool
    size: int
    fingerprint: str | None
    content: Mapping[str, Any] = field(repr=False)

    def body(self) -> dict[str, Any]:
        """The document as the API takes it."""
        return {"id": self.id, **self.content}


def prepare(document: Document, position: int) -> PreparedDocument | Failure:
    """Read a document's image and give it an id, or tell why that cannot be."""
    source = f"documents[{position}]" if document.id is None else document.id
    try:
        return _prepare(document, source)
    except (OSError, ValueError, TypeError) as error:
        return Failure(source, str(error))


def _prepare(document: Document, source: str) -> PreparedDocument:
    if document.text is None and document.image is None:
        raise ValueError("The document has neither a text nor an image.")
    image, address = _read(document.image)
    metadata = dict(document.metadata)
    content: dict[str, Any] = {"metadata": metadata}
    if document.text is not None:
        content["text"] = document.text
    if image is not None or address is not None:
        content["image"] = address if image is None else data_uri(image)
    size = len(content.get("image") or "") + len((document.text or "").encode()) + _OVERHEAD
    own = document.id if document.id is not None else content_id(document.text, image, address, metadata)
    mark = fingerprint(document.text, image, metadata) if address is None else None
    return PreparedDocument(source, own, document.id is not None, size + len(own), mark, content)


def item_body(item: str | Item) -> ItemBody:
    """An item as the API takes it."""
    return item if isinstance(item, str) else item.body()


def reference(image: Image) -> str:
    """An image as the API takes it."""
    data, address = _read(image)
    return address or "" if data is None else data_uri(data)


def data_uri(data: bytes) -> str:
    """Encoded bytes as a data URI. Raises ValueError for anything but JPEG, PNG, WebP and GIF."""
    try:
        kind = media_type(data)
    except InputError as error:
        raise ValueError(str(error)) from None
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _read(image: Image | None) -> tuple[bytes | None, str | None]:
    """An image's bytes, or the address at which the server finds it."""
    if isinstance(image, Path):
        return image.read_bytes(), None
    if isinstance(image, bytes):
        return image, None
    return None, image
