"""A view on disk: one file that is whole and of this format, or is not used at all.

Layout: magic, length of the header (8 bytes), the header (JSON), row keys (int64), the vectors (float32) of
a flat view or else its segment as FAISS serialises it, SHA-256 of all that precedes it; numbers are little-
endian. The file is a cache of the log, so any doubt about it costs a rebuild and nothing else. It is
written and read as a stream: neither takes a second copy of the vectors in memory.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import faiss
import numpy as np
import numpy.typing as npt

from index.ann import IVF, AnnSegment, Effort
from index.cells import NearCells
from index.exact_file import EXACT_FILE, ExactFile
from index.files import move
from index.flat import FlatVectors
from index.gpu import gpu_copy
from index.view import FLAT, Layout, View

FORMAT = 2

SnapshotMark = tuple[str, int, int]  # the kind, the latest change, how many documents it was trained for
NO_MARK: SnapshotMark = (FLAT, 0, 0)  # what the snapshot of an empty collection holds

_MAGIC = b"solomon-view\n"
_DIGEST_BYTES = hashlib.sha256().digest_size
_LENGTH_BYTES = 8
_BLOCK = 4 * 2**20


class UnusableSnapshot(Exception):
    """The file is missing, damaged, of another format, or of another collection; the message says which."""


@dataclass(frozen=True, slots=True)
class SnapshotHeader:
    """What a snapshot holds: `count` vectors of the collection (by uuid) as of change number `sequence`.

    The last four are the segment's, and 0 in a flat snapshot.
    """

    format: int
    collection: str
    sequence: int
    kind: str
    dimensions: int
    count: int
    trained_for: int = 0
    breadth: int = 0
    depth: float = 0.0
    recall: float = 0.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot that has been read: what it says of itself, and the layout of its `header.count` rows."""

    header: SnapshotHeader
    layout: Layout


class _Hashed:
    """A file that is written through a hash."""

    def __init__(self, file: BinaryIO, stop: Callable[[], None]) -> None:
        self._file = file
        self._stop = stop
        self.hash = hashlib.sha256()
        self.failure: Exception | None = (
            None  # FAISS, when it is the one who writes, only says that it failed
        )

    def write(self, block: bytes | memoryview) -> int:
        try:
            self._stop()
            self.hash.update(block)
            return self._file.write(block)
        except Exception as error:
            self.failure = error
            raise


def snapshot_mark(view: View) -> SnapshotMark:
    """What a snapshot of the view would hold. What lies behind a segment is not in it, but in the log."""
    segment = view.layout.segment
    if segment is None:
        return FLAT, view.sequence, 0
    return segment.kind, segment.sequence, segment.trained_for


def write_snapshot(
    path: Path, collection: str, view: View, stop: Callable[[], None] = lambda: None
) -> SnapshotHeader:
    """Put a view of the collection with this uuid on disk, in place of the snapshot before.

    `stop` is called often, and may raise to give up. Raises `OSError`; the file of before is then untouched.
    """
    header = _header(collection, view)
    temporary = path.with_name(path.name + ".new")
    try:
        with open(temporary, "wb") as file:
            hashed = _Hashed(file, stop)
            encoded = json.dumps(asdict(header)).encode()
            hashed.write(_MAGIC + len(encoded).to_bytes(_LENGTH_BYTES, "little") + encoded)
            hashed.write(_bytes_of(view.layout.rows(header.count).astype("<i8", copy=False)))
            _write_body(hashed, view, header.count)
            file.write(hashed.hash.digest())
            file.flush()
            os.fsync(file.fileno())
        move(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    return header


def read_header(path: Path) -> SnapshotHeader:
    """Check a snapshot as a whole and say what it holds. Raises `UnusableSnapshot`."""
    try:
        with open(path, "rb") as file:
            _check_digest(file, path.stat().st_size)
            file.seek(len(_MAGIC))
            given = json.loads(file.read(int.from_bytes(file.read(_LENGTH_BYTES), "little")))
    except FileNotFoundError as error:
        raise UnusableSnapshot("there is none") from error
    except OSError as error:
        raise UnusableSnapshot(f"it cannot be read ({error.strerror})") from error
    if given.get("format") != FORMAT:
        raise UnusableSnapshot(f"its format is {given.get('format')}, not {FORMAT}")
    return SnapshotHeader(**given)


def read_snapshot(path: Path, header: SnapshotHeader, gpu: bool = False) -> Snapshot:
    """Read the snapshot that `read_header` has checked, its inverted file onto a GPU too if there is one.

    Exact vectors of a segment come from the file beside the snapshot, as far as it has them. Raises
    `UnusableSnapshot`.
    """
    try:
        with open(path, "rb") as file:
            file.seek(len(_MAGIC))
            file.seek(int.from_bytes(file.read(_LENGTH_BYTES), "little"), os.SEEK_CUR)
            rows = np.fromfile(file, dtype="<i8", count=header.count).astype(np.int64, copy=False)
            tail = FlatVectors(header.dimensions)
            if header.kind != FLAT:
                exact = ExactFile.open(path.with_name(EXACT_FILE), header.dimensions, rows)
                segment = replace(_read_segment(file, header, rows, gpu), exact=exact)
                return Snapshot(header, Layout(segment, tail, np.zeros(0, np.int64)))
            tail.reserve(header.count)
            for chunk in tail.chunks(header.count):
                _fill(file, _bytes_of(chunk))
            return Snapshot(header, Layout(None, tail, rows))
    except OSError as error:
        raise UnusableSnapshot(f"it cannot be read ({error.strerror})") from error


def _header(collection: str, view: View) -> SnapshotHeader:
    segment, dimensions = view.layout.segment, view.layout.tail.dimensions
    if segment is None:
        return SnapshotHeader(FORMAT, collection, view.sequence, FLAT, dimensions, view.size)
    return SnapshotHeader(
        FORMAT,
        collection,
        segment.sequence,
        segment.kind,
        dimensions,
        len(segment.rows),
        segment.trained_for,
        segment.effort.breadth,
        segment.effort.depth,
        segment.recall,
    )


def _write_body(target: _Hashed, view: View, count: int) -> None:
    segment = view.layout.segment
    if segment is not None:
        try:
            faiss.write_index(segment.index, faiss.PyCallbackIOWriter(target.write, _BLOCK))
        except RuntimeError as error:
            raise target.failure or error from error
        return
    for chunk in view.layout.tail.chunks(count):
        data = _bytes_of(chunk)
        for start in range(0, len(data), _BLOCK):
            target.write(data[start : start + _BLOCK])


def _check_digest(file: BinaryIO, size: int) -> None:
    left = size - _DIGEST_BYTES
    if left < len(_MAGIC) + _LENGTH_BYTES or file.read(len(_MAGIC)) != _MAGIC:
        raise UnusableSnapshot("it is not a snapshot, or was cut short")
    file.seek(0)
    digest = hashlib.sha256()
    block = memoryview(bytearray(_BLOCK))
    while left:
        read = file.readinto(block[: min(left, _BLOCK)])  # type: ignore[attr-defined]
        if not read:
            raise UnusableSnapshot("it was cut short")
        digest.update(block[:read])
        left -= read
    if file.read() != digest.digest():
        raise UnusableSnapshot("its checksum is wrong")


def _read_segment(
    file: BinaryIO, header: SnapshotHeader, rows: npt.NDArray[np.int64], gpu: bool
) -> AnnSegment:
    try:
        index = faiss.read_index(faiss.PyCallbackIOReader(file.read, _BLOCK))
    except RuntimeError as error:
        raise UnusableSnapshot("FAISS cannot read its index") from error
    if index.ntotal != header.count or index.d != header.dimensions:
        raise UnusableSnapshot("its index does not have the size that its header states")
    return AnnSegment(
        header.kind,
        index,
        rows,
        header.sequence,
        header.trained_for,
        Effort(header.breadth, header.depth),
        header.recall,
        gpu_copy(index, gpu and header.kind == IVF),
        cells=NearCells.of(index),
    )


def _fill(file: BinaryIO, target: memoryview) -> None:
    while target:
        read = file.readinto(target[:_BLOCK])  # type: ignore[attr-defined]
        if not read:
            raise UnusableSnapshot("it was cut short")
        target = target[read:]


def _bytes_of(array: npt.NDArray[Any]) -> memoryview:
    """An array's memory, not a copy of it."""
    return array.reshape(-1).view(np.uint8).data
