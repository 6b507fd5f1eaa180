"""Whether a log holds what was written to it: structure, rows, and what belongs together."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from index.records import DIGEST_MODULUS, is_sound, is_sound_blob, named
from index.schema import UNREADABLE

_MOST_OF_STRUCTURE = 20  # SQLite's own findings
_MOST = 1000  # findings of one kind; a log in which more is wrong is wrong as a whole


def damage_in(connection: sqlite3.Connection, dimensions: int, *, thorough: bool = True) -> Iterator[str]:
    """What is wrong with a log of the present format, in words; nothing if it is whole.

    Always: the number of documents and the digest of their checksums, which a row that vanished or came
    back changes. Thorough adds SQLite's own check of every page and index, and each row's checksum.
    Reading stops at the first page that SQLite cannot read.
    """
    connection.execute("BEGIN")  # one moment's state, while writes go on
    try:
        yield from _totals(connection)
        if thorough:
            yield from _structure(connection)
            yield from _documents(connection)
            yield from _blobs(connection, "vectors", "vector", 4 * dimensions)
            yield from _blobs(connection, "images", "data", None)
            yield from _belonging(connection)
    except UNREADABLE as error:
        yield f"SQLite cannot read it ({error})"
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _totals(connection: sqlite3.Connection) -> Iterator[str]:
    stated = connection.execute("SELECT documents, digest FROM collection").fetchone()
    count, digest = connection.execute(
        "SELECT count(*), coalesce(sum(checksum), 0) FROM documents"
    ).fetchone()
    if stated is None or count != stated[0]:
        yield f"it has {count} documents where {'unknown' if stated is None else stated[0]} were written"
    elif digest % DIGEST_MODULUS != stated[1]:
        yield "its documents are not the ones that were written"
    (beyond,) = connection.execute(
        "SELECT max(row) > (SELECT sequence FROM collection) FROM documents"
    ).fetchone()
    if beyond:
        yield "it has documents from after its latest change"


def id_index_damage_in(connection: sqlite3.Connection) -> Iterator[str]:
    """Where the table of documents and the index of its ids do not agree, in words.

    Without it a document is searched and yet not found by its id, and written again beside itself. SQLite
    looks each row up in the index and counts that: 4 s for a million documents, with Python's lock let go.
    """
    yield from _findings(connection, "PRAGMA integrity_check(documents)")


def _structure(connection: sqlite3.Connection) -> Iterator[str]:
    yield from _findings(connection, f"PRAGMA integrity_check({_MOST_OF_STRUCTURE})")


def _findings(connection: sqlite3.Connection, check: str) -> Iterator[str]:
    for (found,) in connection.execute(check):
        if found != b"ok":
            yield found.decode(errors="replace")


def _documents(connection: sqlite3.Connection) -> Iterator[str]:
    left = _MOST
    for found in connection.execute(
        "SELECT row, id, text, metadata, image_media_type, checksum FROM documents ORDER BY row"
    ):
        if not is_sound(found):
            yield named(found[0], found[1])
            left -= 1
            if not left:
                return


def _blobs(connection: sqlite3.Connection, table: str, column: str, size: int | None) -> Iterator[str]:
    left = _MOST
    for row, blob, checksum in connection.execute(
        f"SELECT row, {column}, checksum FROM {table} ORDER BY row"
    ):
        if not is_sound_blob(row, blob, checksum) or (size is not None and len(blob) != size):
            yield f"row {row} of {table} is not as it was written"
            left -= 1
            if not left:
                return


def _belonging(connection: sqlite3.Connection) -> Iterator[str]:
    for what, query in (
        ("has no vector", "SELECT row FROM documents WHERE row NOT IN (SELECT row FROM vectors)"),
        (
            "has lost its image",
            "SELECT row FROM documents WHERE image_media_type IS NOT NULL "
            "AND row NOT IN (SELECT row FROM images)",
        ),
        (
            "is a vector without a document",
            "SELECT row FROM vectors WHERE row NOT IN (SELECT row FROM documents)",
        ),
    ):
        for (row,) in connection.execute(f"{query} LIMIT {_MOST}"):
            yield f"row {row} {what}"
