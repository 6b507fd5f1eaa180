"""Writing to a log's tables, within the caller's transaction. Every statement of a change is here."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from index.records import DIGEST_MODULUS, blob_checksum, document_checksum
from index.types import NewDocument, Vectors

VARIABLES = 512  # below SQLite's limit on the question marks of one statement


class Removed(NamedTuple):
    """How many documents a statement deleted, the sum of their checksums, and their row keys."""

    documents: int
    digest: int
    rows: Sequence[int]


def remove_documents(connection: sqlite3.Connection, ids: Sequence[str]) -> Removed:
    """Delete the documents with these ids, as far as there are any."""
    doomed: list[tuple[int, int]] = []
    for chunk in chunks(ids):
        query = f"SELECT row, checksum FROM documents WHERE id IN ({marks(chunk)})"
        doomed += connection.execute(query, chunk).fetchall()
    rows = [(row,) for row, _ in doomed]
    for table in ("documents", "vectors", "images"):
        connection.executemany(f"DELETE FROM {table} WHERE row = ?", rows)
    return Removed(len(doomed), sum(checksum for _, checksum in doomed), [row for row, _ in doomed])


def insert_documents(
    connection: sqlite3.Connection,
    rows: Sequence[int],
    documents: Sequence[NewDocument],
    metadata: Sequence[str],
) -> int:
    """Write what is not vector or image; return the sum of the rows' checksums."""
    digest = 0

    def encoded() -> Iterator[tuple[int, str, str | None, str, str | None, int]]:
        nonlocal digest
        for row, document, data in zip(rows, documents, metadata, strict=True):
            name, text, image = document.id, document.text, document.image
            media_type = None if image is None else image.media_type
            checksum = document_checksum(row, name.encode(), _bytes(text), data.encode(), _bytes(media_type))
            digest += checksum
            yield row, name, text, data, media_type, checksum

    # One after another: a list of them all would be walked by the garbage collector again and again.
    connection.executemany("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?)", encoded())
    return digest


def insert_vectors(connection: sqlite3.Connection, rows: Sequence[int], vectors: Vectors) -> None:
    """Write vectors [N, D] as little-endian float32."""
    stored = np.ascontiguousarray(vectors, dtype="<f4").reshape(-1).view(np.uint8).data
    size = 4 * vectors.shape[1]
    blobs = (stored[start : start + size] for start in range(0, len(stored), size))
    connection.executemany(
        "INSERT INTO vectors VALUES (?, ?, ?)",
        ((row, blob, blob_checksum(row, blob)) for row, blob in zip(rows, blobs, strict=True)),
    )


def insert_images(
    connection: sqlite3.Connection, rows: Sequence[int], documents: Sequence[NewDocument]
) -> None:
    """Write the images of the documents that have one."""
    connection.executemany(
        "INSERT INTO images VALUES (?, ?, ?)",
        (
            (row, document.image.data, blob_checksum(row, document.image.data))
            for row, document in zip(rows, documents, strict=True)
            if document.image is not None
        ),
    )


def advance(connection: sqlite3.Connection, changes: int, documents: int) -> int:
    """Take sequence numbers and change the count of documents; return the last of the numbers."""
    found = connection.execute(
        "UPDATE collection SET sequence = sequence + ?, documents = documents + ? RETURNING sequence",
        (changes, documents),
    ).fetchone()
    return int(found[0])


def add_to_digest(connection: sqlite3.Connection, difference: int) -> None:
    """Change the sum of the documents' checksums."""
    connection.execute(
        "UPDATE collection SET digest = (digest + ?) % ?", (difference % DIGEST_MODULUS, DIGEST_MODULUS)
    )


def chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Values in parts that one statement can take."""
    for start in range(0, len(values), VARIABLES):
        yield values[start : start + VARIABLES]


def marks(values: Sequence[Any]) -> str:
    """A question mark for each value."""
    return ",".join("?" * len(values))


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode()
