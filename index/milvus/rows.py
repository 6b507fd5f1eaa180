"""Documents as rows of Milvus, and back."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np

from index.milvus.parts import PartList, split
from index.milvus.schema import MAX_VARCHAR_BYTES
from index.milvus.terms import SCALARS, TERMS, terms_of
from index.types import Document, InvalidInput, NewDocument, Vectors

_MAX_TEXT_BYTES = 32 * 1024  # as JSON; a longer text is kept in parts
_IMAGE, _TEXT = "image", "text"


def key_of(document_id: str) -> str:
    """The primary key of a document: a hash of its id, which may hold what expressions cannot quote."""
    return blake2b(document_id.encode(), digest_size=20).hexdigest()


@dataclass(frozen=True, slots=True)
class NewRow:
    """A row to write, and the rows of its parts."""

    row: dict[str, Any]
    parts: list[dict[str, Any]]

    @property
    def bytes(self) -> int:
        """Roughly what the row takes in a request."""
        return 4 * len(self.row["vector"]) + len(self.row["document"]) + 10 * len(self.row[TERMS]) + 256


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row that was read: a document whose text or image may still lie in parts."""

    key: str
    document: Document
    image: PartList | None = None
    text: PartList | None = None
    vector: Vectors = field(default_factory=lambda: np.empty(0, np.float32))

    @property
    def parts(self) -> list[PartList]:
        """Where its parts lie."""
        return [parts for parts in (self.image, self.text) if parts is not None]


def new_row(document: NewDocument, metadata: str, vector: Vectors, address: str) -> NewRow:
    """The row of a document with its metadata as JSON and its unit vector [D].

    Raises `InvalidInput`, naming the part below `address`, for what no row can hold.
    """
    generation = uuid.uuid4().hex
    held = json.loads(metadata)
    record: dict[str, Any] = {"id": document.id, "metadata": held}
    parts: list[dict[str, Any]] = []
    if document.text is not None:
        if len(_json(document.text).encode()) <= _MAX_TEXT_BYTES:
            record["text"] = document.text
        else:
            listed, rows = split(document.text.encode(), generation, _TEXT)
            parts += rows
            record["text_parts"] = [generation, listed.count]
    if document.image is not None:
        listed, rows = split(document.image.data, generation, _IMAGE)
        parts += rows
        record["image_media_type"] = document.image.media_type
        record["image_parts"] = [generation, listed.count]
    encoded = _json(record)
    if len(encoded.encode()) > MAX_VARCHAR_BYTES:
        raise InvalidInput(
            f"{address}.image",
            f"{address}.image has too long a media type.",
            "Send an image of a common kind.",
        )
    terms, scalars = terms_of(held)
    row = {
        "key": key_of(document.id),
        "document": encoded,
        TERMS: terms,
        SCALARS: scalars,
        "vector": vector,
    }
    return NewRow(row, parts)


def stored_row(row: Mapping[str, Any]) -> StoredRow:
    """What a row says; its vector is empty if it was not read."""
    record = json.loads(row["document"])
    document = Document(record["id"], record.get("text"), record["metadata"], record.get("image_media_type"))
    vector = np.asarray(row.get("vector", ()), np.float32)
    return StoredRow(row["key"], document, _parts(record, _IMAGE), _parts(record, _TEXT), vector)


def _parts(record: Mapping[str, Any], kind: str) -> PartList | None:
    listed = record.get(f"{kind}_parts")
    return None if listed is None else PartList(listed[0], kind, listed[1])


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
