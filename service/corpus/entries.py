"""One document of a corpus as it was read, or the reason why it could not be."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from index.types import InvalidInput
from index.validation import check_fields
from model.errors import InputError
from service.fingerprint import content_id, fingerprint
from service.images import media_type

_OVERHEAD = 256  # bytes of JSON around a document's parts, about


class Unreadable(Exception):
    """A part of a corpus that is no document; the message completes "photos/a.jpg ..."."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A document to add, and where it came from ("photos/a.jpg:" or "facts.jsonl:12:").

    The image is encoded bytes, or an https address that the server is to fetch. `own_id` tells an id that
    the corpus gives from one that was derived from the path or the content.
    """

    source: str
    id: str
    text: str | None = None
    image: bytes | None = field(default=None, repr=False)
    image_url: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    own_id: bool = True

    @property
    def size(self) -> int:
        """About how many bytes it takes in a request."""
        image = len(self.image) * 4 // 3 if self.image is not None else len(self.image_url or "")
        return image + len((self.text or "").encode()) + len(self.id) + _OVERHEAD

    @property
    def fingerprint(self) -> str | None:
        """What a collection that holds this very document answers to; None where the image is far away."""
        if self.image_url is not None:
            return None
        return fingerprint(self.text, self.image, self.metadata)

    def body(self) -> dict[str, Any]:
        """The document as `POST /collections/{name}/documents` takes it."""
        body: dict[str, Any] = {"id": self.id, "metadata": dict(self.metadata)}
        if self.text is not None:
            body["text"] = self.text
        if self.image is not None:
            encoded = base64.b64encode(self.image).decode("ascii")
            body["image"] = f"data:{media_type(self.image)};base64,{encoded}"
        elif self.image_url is not None:
            body["image"] = self.image_url
        return body


def make_entry(
    source: str,
    document_id: str | None,
    *,
    text: str | None = None,
    image: bytes | None = None,
    image_url: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    own_id: bool = True,
) -> Entry:
    """Check a document by the server's own rules, as far as they need no model, and give it an id.

    Without an id it gets one that follows from its content, so that reading the same corpus again adds
    nothing. Raises `Unreadable`.
    """
    if text is None and image is None and image_url is None:
        raise Unreadable("has neither a text nor an image.")
    metadata = metadata or {}
    try:
        if image is not None:
            media_type(image)
        check_fields(document_id or "-", text, metadata, "document")
    except InputError as error:
        raise Unreadable(f"{error.field}: {error}") from None
    except InvalidInput as error:
        raise Unreadable(f"{error.field.removeprefix('document.')}: {error}") from None
    if document_id is None:
        document_id = content_id(text, image, image_url, metadata)
        own_id = False
    return Entry(source, document_id, text, image, image_url, metadata, own_id)
