"""Makes document logs of format 1, as the first version wrote them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from index.types import NewDocument

SCHEMA = (
    """CREATE TABLE collection (
        single INTEGER PRIMARY KEY CHECK (single = 1),
        format INTEGER NOT NULL, uuid TEXT NOT NULL, created TEXT NOT NULL,
        dimensions INTEGER NOT NULL, model TEXT NOT NULL, sequence INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE documents (
        row INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,
        text TEXT, metadata TEXT NOT NULL, image_media_type TEXT
    ) STRICT""",
    """CREATE TABLE vectors (
        row INTEGER PRIMARY KEY REFERENCES documents ON DELETE CASCADE, vector BLOB NOT NULL
    ) STRICT""",
    """CREATE TABLE images (
        row INTEGER PRIMARY KEY REFERENCES documents ON DELETE CASCADE, data BLOB NOT NULL
    ) STRICT""",
)


def make_format_1(
    path: Path, documents: Sequence[NewDocument], *, format: int = 1, dimensions: int = 8, model: str = "m"
) -> None:
    """Write documents under the row keys 3, 5, 7 … (others were deleted), the latest change beyond them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA page_size = 8192")
    connection.execute("PRAGMA journal_mode = WAL")
    for statement in SCHEMA:
        connection.execute(statement)
    rows = range(3, 3 + 2 * len(documents), 2)
    connection.execute(
        "INSERT INTO collection VALUES (1, ?, 'c0ffee', '2026-01-01T00:00:00+00:00', ?, ?, ?)",
        (format, dimensions, model, 10 + 2 * len(documents)),
    )
    connection.execute("BEGIN")
    for row, document in zip(rows, documents, strict=True):
        image = document.image
        metadata = json.dumps(dict(document.metadata), separators=(",", ":"))
        connection.execute(
            "INSERT INTO documents VALUES (?, ?, ?, ?, ?)",
            (row, document.id, document.text, metadata, image and image.media_type),
        )
        connection.execute("INSERT INTO vectors VALUES (?, ?)", (row, document.vector.tobytes()))
        if image is not None:
            connection.execute("INSERT INTO images VALUES (?, ?)", (row, image.data))
    connection.execute("COMMIT")
    connection.close()
