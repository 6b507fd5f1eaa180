"""A log's documents as they lie on disk: whole rows, their checksums, and reading them one after another."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from index.types import DamagedLog, Image, Loss, NewDocument

DIGEST_MODULUS = 2**62  # SQLite's integers are signed, of 64 bits

_WITH_CHECKSUMS = """
    SELECT d.row, id, text, metadata, image_media_type, d.checksum,
           vector, v.checksum, data, i.checksum
    FROM documents AS d LEFT JOIN vectors AS v USING (row) LEFT JOIN images AS i USING (row)
"""


@dataclass(frozen=True, slots=True)
class Record:
    """A stored document: `metadata` is JSON, `vector` little-endian float32, `row` its key in the log."""

    row: int
    id: str
    text: str | None
    metadata: str
    image_media_type: str | None
    vector: bytes
    image: bytes | None

    def document(self) -> NewDocument:
        """The document as it could be written again."""
        image = None
        if self.image is not None and self.image_media_type is not None:
            image = Image(self.image, self.image_media_type)
        vector = np.frombuffer(self.vector, "<f4").astype(np.float32)
        return NewDocument(self.id, vector, self.text, image, json.loads(self.metadata))


def document_checksum(
    row: int, document_id: bytes, text: bytes | None, metadata: bytes, image_media_type: bytes | None
) -> int:
    """CRC-32 of a row of `documents`, bound to its key, so that a row in another's place is noticed too.

    A CRC finds every error of up to 32 bits in a row, and others but for one in four thousand million.
    It guards against disks, not against people: who can write the file can write its checksums.
    """
    text_size = -1 if text is None else len(text)
    type_size = -1 if image_media_type is None else len(image_media_type)
    sizes = b"%d %d %d %d %d " % (row, len(document_id), text_size, len(metadata), type_size)
    return crc32(b"".join((sizes, document_id, text or b"", metadata, image_media_type or b"")))


def blob_checksum(row: int, blob: bytes | memoryview) -> int:
    """CRC-32 of a vector's or an image's bytes, bound to its key."""
    return crc32(blob, row & 0xFFFFFFFF)


def is_sound(found: Sequence[Any]) -> bool:
    """Whether row, id, text, metadata, media type and checksum, as read from `documents`, belong together."""
    row, document_id, text, metadata, media_type, checksum = found
    return (
        isinstance(document_id, bytes)
        and isinstance(metadata, bytes)
        and (text is None or isinstance(text, bytes))
        and (media_type is None or isinstance(media_type, bytes))
        and document_checksum(row, document_id, text, metadata, media_type) == checksum
    )


def is_sound_blob(row: int, blob: Any, checksum: Any) -> bool:
    """Whether a blob, as read from `vectors` or `images`, is the one that was written."""
    return isinstance(blob, bytes) and blob_checksum(row, blob) == checksum


def record_of(found: Sequence[Any], dimensions: int) -> Record | None:
    """A record of a joined row with its checksums, or None if any part of it is not what was written."""
    row, document_id, text, metadata, media_type, _, vector, vector_checksum, image, image_checksum = found
    if not is_sound(found[:6]) or not is_sound_blob(row, vector, vector_checksum):
        return None
    if len(vector) != 4 * dimensions or (media_type is None) != (image is None):
        return None
    if image is not None and not is_sound_blob(row, image, image_checksum):
        return None
    return Record(
        row,
        document_id.decode(),
        None if text is None else text.decode(),
        metadata.decode(),
        None if media_type is None else media_type.decode(),
        vector,
        image,
    )


def read_records(
    connection: sqlite3.Connection, path: Path, dimensions: int, after: int = 0, limit: int = -1
) -> Iterator[Record]:
    """The documents above a row key, ascending, at most `limit` unless that is -1.

    Raises `DamagedLog` at the first that is not sound.
    """
    query = f"{_WITH_CHECKSUMS} WHERE d.row > ? ORDER BY d.row LIMIT ?"
    for found in connection.execute(query, (after, limit)):
        yield _sound_record(found, path, dimensions)


def read_records_of(
    connection: sqlite3.Connection, path: Path, dimensions: int, ids: Sequence[str]
) -> Iterator[Record]:
    """The documents with these ids, which are few enough for one statement. Raises `DamagedLog`."""
    query = f"{_WITH_CHECKSUMS} WHERE id IN ({','.join('?' * len(ids))})"
    for found in connection.execute(query, ids):
        yield _sound_record(found, path, dimensions)


def _sound_record(found: Sequence[Any], path: Path, dimensions: int) -> Record:
    record = record_of(found, dimensions)
    if record is None:
        raise DamagedLog(f"The document log {path.name} is damaged: {named(found[0], found[1])}.")
    return record


def read_record(
    connection: sqlite3.Connection, row: int, dimensions: int, other_id: bytes | None = None
) -> Record | None:
    """The document under a row key, or None if it is missing or not sound.

    `other_id` is tried in place of an id that the row's checksum does not confirm.
    """
    found = connection.execute(f"{_WITH_CHECKSUMS} WHERE d.row = ?", (row,)).fetchone()
    if found is None:
        return None
    record = record_of(found, dimensions)
    if record is None and other_id is not None:
        return record_of((row, other_id, *found[2:]), dimensions)
    return record


def named(row: int, document_id: Any) -> str:
    """How to speak of a damaged document, whose id may be damaged as well."""
    if isinstance(document_id, bytes):
        return f"the document {document_id.decode(errors='replace')!r} (row {row}) is not as it was written"
    return f"the document in row {row} is not as it was written"


def read_losses(connection: sqlite3.Connection) -> Iterator[Loss]:
    """What a log says that damage has cost it, in the order in which it was noticed."""
    found = connection.execute("SELECT id, reason, noticed, documents FROM losses ORDER BY rowid")
    for name, reason, noticed, documents in found:
        yield Loss(name and name.decode(errors="replace"), reason.decode(), noticed.decode(), int(documents))
