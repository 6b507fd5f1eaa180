"""A view on disk: one file that is whole and of this format, or is not used at all.

Layout: magic, SHA-256 of all that follows it, length of the header (8 bytes, little-endian), the header
(JSON), row keys (int64, little-endian), the FAISS index as FAISS serialises it. The file is a cache of
the log, so any doubt about it costs a rebuild and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from index.files import replace_file

FORMAT = 1

_MAGIC = b"solomon-view\n"
_DIGEST_BYTES = 32
_LENGTH_BYTES = 8


class UnusableSnapshot(Exception):
    """The file is missing, damaged, of another format, or of another collection; the message says which."""


@dataclass(frozen=True, slots=True)
class SnapshotHeader:
    """What a snapshot holds: the collection (by uuid) as it was after change number `sequence`."""

    format: int
    collection: str
    sequence: int
    kind: str
    dimensions: int
    count: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A view's content: `rows` [N] are the row keys of the FAISS index's N vectors, in its order."""

    header: SnapshotHeader
    rows: npt.NDArray[np.int64]
    index: npt.NDArray[np.uint8]

    def load_index(self) -> Any:
        """Return the FAISS index, checked against the header. Raises `UnusableSnapshot`."""
        try:
            index = faiss.deserialize_index(self.index)
        except RuntimeError as error:
            raise UnusableSnapshot("FAISS cannot read its index") from error
        if index.ntotal != self.header.count or index.d != self.header.dimensions:
            raise UnusableSnapshot("its index does not have the size that its header states")
        return index


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Put a snapshot on disk in place of the one before. Raises `OSError`."""
    header = json.dumps(asdict(snapshot.header)).encode()
    body: list[bytes | memoryview] = [
        len(header).to_bytes(_LENGTH_BYTES, "little"),
        header,
        snapshot.rows.astype("<i8", copy=False).view(np.uint8).data,
        snapshot.index.data,
    ]
    digest = hashlib.sha256()
    for part in body:
        digest.update(part)
    replace_file(path, [_MAGIC, digest.digest(), *body])


def read_snapshot(path: Path) -> Snapshot:
    """Read a snapshot whose checksum is right. Raises `UnusableSnapshot`."""
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except FileNotFoundError as error:
        raise UnusableSnapshot("there is none") from error
    except OSError as error:
        raise UnusableSnapshot(f"it cannot be read ({error.strerror})") from error
    body_start = len(_MAGIC) + _DIGEST_BYTES
    if content[: len(_MAGIC)].tobytes() != _MAGIC:
        raise UnusableSnapshot("it is not a snapshot, or of another format")
    body = content[body_start:]
    if hashlib.sha256(body.data).digest() != content[len(_MAGIC) : body_start].tobytes():
        raise UnusableSnapshot("its checksum is wrong")
    return _parse(body)


def _parse(body: npt.NDArray[np.uint8]) -> Snapshot:
    header_end = _LENGTH_BYTES + int.from_bytes(body[:_LENGTH_BYTES].tobytes(), "little")
    given = json.loads(body[_LENGTH_BYTES:header_end].tobytes())
    if given.get("format") != FORMAT:
        raise UnusableSnapshot(f"its format is {given.get('format')}, not {FORMAT}")
    header = SnapshotHeader(**given)
    rows_end = header_end + 8 * header.count
    rows = np.frombuffer(body[header_end:rows_end].tobytes(), dtype="<i8").astype(np.int64)
    return Snapshot(header, rows, body[rows_end:])
