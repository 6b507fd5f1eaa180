"""Images and long texts in Milvus, whose strings hold 65,535 bytes: parts, in a collection of their own.

A document names its parts by a generation, which each write chooses anew. Parts are written before the
document that names them and removed after nothing names them any more, so a document is never seen
without its parts; a crash between the two leaves parts that nothing names, which cost space until the
collection is dropped.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from index.milvus.batches import REQUEST_BYTES, batches
from index.milvus.connection import MilvusConnection

PART_BYTES = 49_149  # 65,532 characters of base64
_READ_AT_A_TIME = 256


class PartsMissing(Exception):
    """The parts of a document are gone: it was replaced or deleted while it was read."""


@dataclass(frozen=True, slots=True)
class PartList:
    """Where a blob lies: the rows "<generation>:<kind>:0" and so on."""

    generation: str
    kind: str
    count: int

    @property
    def keys(self) -> list[str]:
        """The parts' primary keys, in order."""
        return [f"{self.generation}:{self.kind}:{number}" for number in range(self.count)]


def split(data: bytes, generation: str, kind: str) -> tuple[PartList, list[dict[str, Any]]]:
    """The parts of a blob as rows to write, and the list that finds them."""
    # An empty blob is one empty part, so that it can be told from a missing one.
    chunks = [data[start : start + PART_BYTES] for start in range(0, max(1, len(data)), PART_BYTES)]
    listed = PartList(generation, kind, len(chunks))
    # Milvus wants a vector in every collection.
    rows = [
        {"key": key, "data": b64encode(chunk).decode(), "vector": [1.0, 0.0]}
        for key, chunk in zip(listed.keys, chunks, strict=True)
    ]
    return listed, rows


class Parts:
    """The parts of one collection's documents."""

    def __init__(self, connection: MilvusConnection, collection: str) -> None:
        """Use the Milvus collection of this name."""
        self._connection = connection
        self._collection = collection

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write the rows of `split`."""
        for batch in batches(rows, lambda row: len(row["data"]), REQUEST_BYTES):
            self._connection.call("upsert", self._collection, list(batch))

    def read(self, listed: Sequence[PartList]) -> list[bytes]:
        """The blobs of lists, in their order. Raises `PartsMissing`."""
        keys = [key for parts in listed for key in parts.keys]
        found: dict[str, str] = {}
        for start in range(0, len(keys), _READ_AT_A_TIME):
            rows = self._connection.call(
                "query",
                self._collection,
                ids=keys[start : start + _READ_AT_A_TIME],
                output_fields=["key", "data"],
                consistency_level="Strong",
            )
            found |= {row["key"]: row["data"] for row in rows}
        if len(found) < len(keys):
            raise PartsMissing
        return [b"".join(b64decode(found[key]) for key in parts.keys) for parts in listed]

    def remove(self, listed: Iterable[PartList]) -> None:
        """Remove the parts of lists; what is gone already is no error."""
        keys = [key for parts in listed for key in parts.keys]
        for start in range(0, len(keys), 1000):
            self._connection.call("delete", self._collection, ids=keys[start : start + 1000])
