"""The exact vectors behind an approximate segment, in a file: what a search scores its candidates with.

The log has the same vectors, but a look-up there costs a walk through a database; here it is one read at a
known place. A record holds the vector at a position, its document if that is short (`index.short_forms`), and
a checksum that is bound to the document's row key, so it says by itself whether it is the one that is wanted.
A record that was never written, was torn by a crash, belongs to an earlier segment or has rotted is simply
not taken, and the log is asked instead. That is why the file needs no syncing, no moving into place and no
check as a whole: it cannot make an answer wrong, only slower. It is read, not mapped: a disk that fails is
then an error and not a signal.
The checksum is CRC-32C where it is compiled, and otherwise zlib's: a file with the other one is begun anew.
The memory that it takes is the system's cache of files, which gives way to whatever needs it more.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self
from zlib import crc32

import numpy as np
import numpy.typing as npt

from index.bits import Mask, Positions
from index.compiled import addresses, library
from index.records import blob_checksum
from index.short_forms import FORM_BYTES
from index.types import Vectors

Rows = npt.NDArray[np.int64]

EXACT_FILE = "segment.vectors"  # beside the snapshot

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_CHECKSUM_BYTES = 4
_RESIDUE = 0x2144DF1C  # CRC-32 of any bytes with their own CRC-32 behind them, whatever it began with

_logger = logging.getLogger(__name__)


def record_bytes(dimensions: int) -> int:
    """Size of a record: the vector, the document's form, the checksum."""
    return 4 * dimensions + FORM_BYTES + _CHECKSUM_BYTES


class ExactFile:
    """Vectors [count, D] by position in a segment; for one writer and any number of readers.

    `count` is up to where records were written. Searches that find a record below that wrong make the file
    `is_damaged`, for the writer to begin anew.
    """

    def __init__(self, handle: int, dimensions: int) -> None:
        """Use an open file, which is closed when nothing refers to this any more."""
        self.count = 0
        self.is_damaged = False
        self._handle = handle
        self._dimensions = dimensions
        self._size = record_bytes(dimensions)
        weakref.finalize(self, os.close, handle)
        if hasattr(os, "posix_fadvise"):  # searches read here and there; reading on would be in vain
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_RANDOM)

    @classmethod
    def create(cls, path: Path, dimensions: int) -> Self | None:
        """Begin an empty file; who still reads an earlier one at this path goes on with that.

        None where the disk refuses: that costs speed and nothing else.
        """
        try:
            path.unlink(missing_ok=True)
            return cls(os.open(path, _NEW, 0o600), dimensions)
        except OSError as error:
            _logger.warning("searches read exact vectors from the log: no file for them (%s)", error.strerror)
            return None

    @classmethod
    def open(cls, path: Path, dimensions: int, rows: Rows) -> Self | None:
        """Take up the file that an earlier process left for a segment of these rows, or begin one.

        The last record that there could be decides: in another segment, other rows were in its place.
        """
        try:
            found = cls(os.open(path, os.O_RDWR | os.O_CLOEXEC), dimensions)
            written = min(len(rows), os.fstat(found._handle).st_size // found._size)
        except OSError:
            return cls.create(path, dimensions)
        last = np.arange(max(0, written - 1), written)
        if not written or not found.read(last, rows[last])[1].all():
            return cls.create(path, dimensions)
        found.count = written
        return found

    def covers(self, size: int) -> bool:
        """Whether the first `size` records were written, and none of them was found wrong since."""
        return self.count >= size and not self.is_damaged

    def read(self, positions: Positions, rows: Rows) -> tuple[Vectors, Mask, Sequence[bytes]]:
        """The vectors [N, D] at positions, which of them [N] are those of these row keys, and their forms.

        The others are arbitrary.
        """
        records, right = _read(self._handle, self._size, positions, rows)
        if not right.all() and (~right & (positions < self.count)).any():
            self.is_damaged = True
        vectors = records.view("<f4")[:, : self._dimensions]
        forms = records[:, 4 * self._dimensions : -_CHECKSUM_BYTES].tobytes()
        return vectors, right, [forms[at : at + FORM_BYTES] for at in range(0, len(forms), FORM_BYTES)]

    def fill(self, rows: Rows, log: Iterable[tuple[Sequence[int], Vectors, Sequence[bytes]]]) -> None:
        """Write what is missing of a segment of these rows.

        `log` has live rows, their vectors and their documents' forms, ascending, from some place before what
        is missing. Rows that it lacks were deleted, and no search asks for them any more. Raises `OSError`.
        """
        for found, vectors, forms in log:
            keys = np.asarray(found, np.int64)
            at = np.minimum(np.searchsorted(rows, keys), len(rows) - 1)
            known = np.flatnonzero(rows[at] == keys)
            for run in _runs(at[known]):
                part = known[run]
                blobs = map(self._blob, vectors[part], (forms[index] for index in part.tolist()))
                self._write(int(at[part[0]]), keys[part].tolist(), list(blobs))
            if keys[-1] >= rows[-1]:
                break
        self.count = len(rows)
        self.is_damaged = False

    @staticmethod
    def _blob(vector: Vectors, form: bytes) -> bytes:
        return np.asarray(vector, "<f4").tobytes() + form

    def _write(self, start: int, rows: Sequence[int], blobs: Sequence[bytes]) -> None:
        records = [
            blob + _checksum(row, blob).to_bytes(_CHECKSUM_BYTES, "little")
            for row, blob in zip(rows, blobs, strict=True)
        ]
        left, offset = memoryview(b"".join(records)), self._size * start
        while left:
            done = os.pwrite(self._handle, left, offset)
            left, offset = left[done:], offset + done


Records = npt.NDArray[np.uint8]


def _checksum(row: int, blob: bytes) -> int:
    """Of a record's bytes, bound to its row key."""
    compiled = library()
    if compiled is None:
        return blob_checksum(row, blob)
    return int(compiled.record_checksum(row, blob, len(blob)))


def _read(handle: int, size: int, positions: Positions, rows: Rows) -> tuple[Records, Mask]:
    """Records [N, size] at positions, and which [N] are those of these row keys; others are arbitrary."""
    compiled, count = library(), len(positions)
    if compiled is None:
        return _read_one_by_one(handle, size, positions, rows)
    records, right = np.empty((count, size), np.uint8), np.empty(count, np.bool_)
    places, keys = np.ascontiguousarray(positions, np.int64), np.ascontiguousarray(rows, np.int64)
    compiled.read_records(handle, size, count, *addresses(places, keys, records, right))
    return records, right


def _read_one_by_one(handle: int, size: int, positions: Positions, rows: Rows) -> tuple[Records, Mask]:
    """The same where nothing is compiled."""
    try:
        found = [os.pread(handle, size, size * at) for at in positions.tolist()]
    except OSError:
        found = [b""] * len(positions)
    residues = list(map(crc32, found, rows.tolist()))
    records = b"".join(record.ljust(size, b"\0") for record in found)  # some lie behind the end
    return np.frombuffer(records, np.uint8).reshape(-1, size), np.array(residues, np.int64) == _RESIDUE


def _runs(positions: Positions) -> Iterable[slice]:
    """Where neighbouring positions follow one another without a gap."""
    start = 0
    for end in [*(np.flatnonzero(np.diff(positions) != 1) + 1).tolist(), len(positions)]:
        if end > start:
            yield slice(start, end)
        start = end
