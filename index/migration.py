"""Bringing logs of earlier formats to the present one.

A migration writes a new log beside the old one, which the caller then puts in the old one's place by one
rename: a kill at any instant leaves the old log, or the new. It needs as much free disk as the log takes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from index.building import LogBuilder, open_source
from index.records import Record, named
from index.schema import FORMAT, read_format, read_settings, storage_errors
from index.types import DamagedLog

# Format 1: no checksums, no count, no digest, no losses; pages of 8 KiB, and foreign keys that cascaded.
SCHEMA_1 = (
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
_RECORDS_1 = """
    SELECT d.row, id, text, metadata, image_media_type, vector, data
    FROM documents AS d LEFT JOIN vectors AS v USING (row) LEFT JOIN images AS i USING (row)
    ORDER BY d.row
"""


def is_outdated(path: Path) -> bool:
    """Whether a log has an earlier format. Raises `StorageError` for a later one, `DamagedLog` for none."""
    with storage_errors(path), closing(open_source(path)) as source:
        return read_format(source, path) < FORMAT


def migrate(
    path: Path,
    target: Path,
    *,
    renewed: bool = False,
    check: Callable[[Record], Record] = lambda record: record,
) -> None:
    """Write the documents of a log of format 1 to a new log, with their row keys, sequence and uuid.

    With `renewed`, the new log has a uuid of its own. What is written is what `check` returns for each
    document; what it raises is raised.

    Raises `DamagedLog` if the old log cannot be read to its end: it has no checksums to salvage by.
    """
    with storage_errors(path), closing(open_source(path)) as source:
        source.execute("BEGIN")
        settings = read_settings(source, path, format=1)
        (sequence,) = source.execute("SELECT sequence FROM collection").fetchone()
        with LogBuilder(target, settings.renewed() if renewed else settings) as builder:
            for record in read_records_1(source, path, settings.dimensions):
                builder.add(check(record))
            builder.finish(sequence)


def read_records_1(source: sqlite3.Connection, path: Path, dimensions: int) -> Iterator[Record]:
    """The documents of a log of format 1, by row key. Raises `DamagedLog` where that shows."""
    for row, document_id, text, metadata, media_type, vector, image in source.execute(_RECORDS_1):
        sound = isinstance(vector, bytes) and len(vector) == 4 * dimensions
        if not sound or (image is None) != (media_type is None):
            raise DamagedLog(f"The document log {path.name} is damaged: {named(row, document_id)}.")
        try:
            yield Record(
                row,
                document_id.decode(),
                None if text is None else text.decode(),
                metadata.decode(),
                None if media_type is None else media_type.decode(),
                vector,
                image,
            )
        except (UnicodeDecodeError, AttributeError) as error:  # AttributeError: a NULL where there is text
            raise DamagedLog(
                f"The document log {path.name} is damaged: {named(row, document_id)}."
            ) from error
