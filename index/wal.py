"""Mending SQLite's write-ahead log where bits in it have flipped, before SQLite sees it.

SQLite takes up the log as far as its chain of checksums holds and drops the rest, though all but one of the
frames may be sound. Each frame's checksum, however, follows from the one stored before it, so every frame
can be judged by itself; and as the checksum is linear, one flipped bit can often be found from what it did.
The frames are then sealed anew, up to the last change that was acknowledged. What could not be put right is
left as it is for the checksums of the rows (`index.records`) to find.

The file's format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from index.files import replace_file
from index.schema import PAGE_SIZE

_HEADER = 32
_FRAME_HEADER = 24
_FRAME = _FRAME_HEADER + PAGE_SIZE
_VERSION = 3_007_000
_MAGIC = 0x377F0682  # with the lowest bit set: checksums are over big-endian words
_SALTS = slice(16, 24)  # of the header
_BLOCK = 512  # frames looked at together

Words = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Mending:
    """What was done: how many frames were put right bit by bit, and how many could not be."""

    corrected: int
    doubtful: int


@dataclass(frozen=True, slots=True)
class _Header:
    """The parts of the file's header that its frames depend on; `sound` if its own checksum holds."""

    big_endian: bool
    fields: bytes  # magic, version, page size, checkpoint number, salts
    checksum: bytes  # as it is stored
    sound: bool


def wal_salts(wal: Path) -> bytes:
    """The salts in a write-ahead log's header, which change whenever it begins anew. Raises `OSError`."""
    with open(wal, "rb", buffering=0) as file:
        return os.pread(file.fileno(), _SALTS.stop - _SALTS.start, _SALTS.start)


def mend_wal(wal: Path, acknowledged: int, salts: bytes = b"") -> Mending | None:
    """Put a damaged write-ahead log right as far as its first `acknowledged` transactions go.

    `salts` are those of the log that took them; where the file has begun anew since, none of it was
    acknowledged, and a frame that was cut short must stay what it is.

    None, with the file as it was, if those are whole or there is nothing to mend; the original stays beside
    a file that could not be put right entirely, under its name and ".damaged". Raises `OSError`.
    """
    try:
        size = wal.stat().st_size
    except FileNotFoundError:
        return None
    count = (size - _HEADER) // _FRAME
    if count < 1 or not acknowledged:
        return None
    content = np.memmap(wal, np.uint8, "r")
    header = _read_header(content, count)
    frames = content[_HEADER : _HEADER + count * _FRAME].reshape(count, _FRAME)
    chain = _Chain(header)
    if header.sound and salts and header.fields[_SALTS] != salts:
        return None
    if header.sound and chain.whole_transactions(frames) >= acknowledged:
        return None
    kept, mending = chain.mend(frames, acknowledged)
    if mending.doubtful:
        damaged = wal.with_name(f"{wal.name}.damaged")
        damaged.unlink(missing_ok=True)
        os.link(wal, damaged)
    replace_file(wal, chain.sealed(kept))
    return mending


class _Chain:
    """The checksums of one file: of eight bytes of each frame's header, and its page, each on the last."""

    def __init__(self, header: _Header) -> None:
        self._header = header
        self._word = np.dtype(">u4" if header.big_endian else "<u4")
        self._factors, self._power = _factors(8 + PAGE_SIZE)
        self._header_factors, _ = _factors(_HEADER - 8)

    def start(self) -> Words:
        """The checksum of the file's header, on which the first frame's is put."""
        words = np.frombuffer(self._header.fields, self._word).astype(np.uint32)
        return _product(words[None], self._header_factors)[0]

    def _stated_start(self) -> Words:
        return np.frombuffer(self._header.checksum, ">u4").astype(np.uint32)

    def count_wrong(self, frames: npt.NDArray[np.uint8]) -> int:
        """How many of the file's first frames do not have the checksum that they should."""
        return int(np.count_nonzero(self._wrong(frames, self._stated_start()[None])))

    def whole_transactions(self, frames: npt.NDArray[np.uint8]) -> int:
        """How many transactions SQLite would take up: those before the first frame that is not sound."""
        whole = 0
        before = self.start()[None]
        for block in _blocks(frames):
            salts = np.frombuffer(self._header.fields[_SALTS], np.uint8)
            wrong = self._wrong(block, before) | (block[:, 8:16] != salts).any(axis=1)
            sound = int(np.argmax(wrong)) if wrong.any() else len(block)
            whole += int(np.count_nonzero(_big_endian(block[:sound, 4:8])))
            if sound < len(block):
                return whole
            before = _stored(block[-1:])
        return whole

    def mend(
        self, frames: npt.NDArray[np.uint8], transactions: int
    ) -> tuple[list[npt.NDArray[np.uint8]], Mending]:
        """The frames of the first transactions with what can be put right in them, and how that went."""
        kept: list[npt.NDArray[np.uint8]] = []
        corrected = doubtful = 0
        before, computed = self._stated_start()[None], self.start()[None]
        for number, original in enumerate(frames):
            frame = np.array(original)
            if not self._of_this_file(frame[None])[0]:
                break  # left from before the file was begun anew
            stored = _stored(frame[None])
            starts = np.concatenate([before, computed])
            if not self._follows(frame, starts):
                done = self._put_right(frame, starts, frames[number + 1 : number + 2])
                corrected, doubtful = corrected + done, doubtful + (not done)
            computed = self._checksums(frame[None], computed)
            before = stored
            kept.append(frame)
            transactions -= int(_big_endian(frame[None, 4:8])[0] != 0)
            if not transactions:
                break
        return kept, Mending(corrected, doubtful)

    def sealed(self, frames: list[npt.NDArray[np.uint8]]) -> Iterator[bytes]:
        """The file with these frames, each under the checksum that it must have."""
        checksum = self.start()
        yield self._header.fields + checksum.astype(">u4").tobytes()
        salts = self._header.fields[_SALTS]
        for frame in frames:
            checksum = self._checksums(frame[None], checksum[None])[0]
            yield frame[:8].tobytes() + salts + checksum.astype(">u4").tobytes()
            yield frame[_FRAME_HEADER:].tobytes()

    def _of_this_file(self, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """Which frames [n] have the file's salts, one of which may be damaged."""
        salts = np.frombuffer(self._header.fields[_SALTS], np.uint8)
        equal = frames[:, 8:16] == salts
        return np.asarray(equal[:, :4].all(axis=1) | equal[:, 4:].all(axis=1))

    def _wrong(
        self, frames: npt.NDArray[np.uint8], before: Words, *, chained: bool = True
    ) -> npt.NDArray[np.bool_]:
        """Which frames [n] do not have the checksum that follows from the one before them.

        Chained, each frame follows the one ahead of it, and the first follows `before` [1, 2].
        """
        stored = _stored(frames)
        starts = np.concatenate([before, stored[:-1]]) if chained else before
        return np.asarray((self._checksums(frames, starts) != stored).any(axis=1))

    def _checksums(self, frames: npt.NDArray[np.uint8], before: Words) -> Words:
        """The checksums [n, 2] of frames [n], each put on one of `before` [n, 2]."""
        return _product(self._words(frames), self._factors) + _product(before, self._power)

    def _words(self, frames: npt.NDArray[np.uint8]) -> Words:
        covered = np.concatenate([frames[:, :8], frames[:, _FRAME_HEADER:]], axis=1)
        return covered.view(self._word).astype(np.uint32)

    def _follows(self, frame: npt.NDArray[np.uint8], starts: Words) -> bool:
        """Whether a frame has the checksum that follows from one of `starts` [n, 2]."""
        copies = np.repeat(frame[None], len(starts), axis=0)
        return not self._wrong(copies, starts, chained=False).all()

    def _put_right(
        self, frame: npt.NDArray[np.uint8], starts: Words, following: npt.NDArray[np.uint8]
    ) -> bool:
        """Correct a frame in place if one flipped bit explains its checksum; whether one does for certain.

        The bit may be in what is stored as its checksum: the frame after it, [0 or 1], tells whether to
        believe that.
        """
        stored = _stored(frame[None])
        copies = np.repeat(frame[None], len(starts), axis=0)
        if len(following) and not self._follows(following[0], stored):
            return self._follows(following[0], self._checksums(copies, starts))
        for start in starts:
            missing = (stored - self._checksums(frame[None], start[None]))[0]
            if not len(following) and _is_one_bit(missing):
                return False
            if self._turn_bit(frame, missing):
                return True
        return False

    def _turn_bit(self, frame: npt.NDArray[np.uint8], missing: Words) -> bool:
        """Turn back the one bit of a frame for want of which its checksum lacks `missing`, [2].

        None is turned if several would explain it, as is so with the highest bits of a word: modulo 2**32,
        those of many words add the same.
        """
        words = self._words(frame[None])[0]
        candidates: list[tuple[int, np.uint32]] = []
        for bit in range(32):
            value = np.uint32(1 << bit)
            # A bit that is set would have been clear: that lowers the word, modulo 2**32.
            change = np.where(words & value, np.uint32(2**32 - (1 << bit)), value).astype(np.uint32)
            found = np.flatnonzero((change[:, None] * self._factors == missing).all(axis=1))
            candidates += [(position, value) for position in found.tolist()]
        if len(candidates) != 1:
            return False
        [(position, value)] = candidates
        turned = np.array([words[position] ^ value], np.uint32).astype(self._word).view(np.uint8)
        offset = 4 * position if position < 2 else 4 * position + _FRAME_HEADER - 8
        frame[offset : offset + 4] = turned
        return True


def _is_one_bit(difference: Words) -> bool:
    """Whether checksums that differ by this could differ in a single bit of what is stored."""
    both = [int(part) for part in difference]
    return 0 in both and any(part.bit_count() == 1 or (2**32 - part).bit_count() == 1 for part in both)


def _read_header(content: npt.NDArray[np.uint8], count: int) -> _Header:
    """The file's header, from the frames and what is always so where its own checksum is wrong."""
    given = content[:_HEADER].tobytes()
    stored = np.frombuffer(given[24:], ">u4").astype(np.uint32)
    factors, _ = _factors(_HEADER - 8)
    for big_endian in (True, False):
        word = ">u4" if big_endian else "<u4"
        words = np.frombuffer(given[:24], word).astype(np.uint32)
        if (_product(words[None], factors)[0] == stored).all():
            return _Header(bool(given[3] & 1), given[:24], given[24:], sound=True)
    first = content[_HEADER : _HEADER + min(count, 16) * _FRAME].reshape(-1, _FRAME)
    salts, counts = np.unique(first[:, 8:16], axis=0, return_counts=True)
    headers = []
    for big_endian in (True, False):
        known = b"".join(number.to_bytes(4, "big") for number in (_MAGIC | big_endian, _VERSION, PAGE_SIZE))
        fields = known + given[12:16] + salts[np.argmax(counts)].tobytes()
        headers.append(_Header(big_endian, fields, given[24:], sound=False))
    return min(headers, key=lambda header: _Chain(header).count_wrong(first))


def _factors(size: int) -> tuple[Words, Words]:
    """What each word of `size` bytes adds to the checksum's two sums [words, 2], and what they had before.

    SQLite adds two words at a time: s1 += x0 + s2; s2 += x1 + s1, modulo 2**32.
    """
    factors = np.empty((size // 4, 2), np.uint32)
    first, second = (1, 1), (0, 1)  # what the last x0 and x1 add to s1 and s2
    s1, s2 = (1, 0), (0, 1)
    for pair in range(size // 8 - 1, -1, -1):
        factors[2 * pair], factors[2 * pair + 1] = first, second
        first, second, s1, s2 = (_step(sums) for sums in (first, second, s1, s2))
    return factors, np.array([s1, s2], np.uint32)


def _step(sums: tuple[int, int]) -> tuple[int, int]:
    one = (sums[0] + sums[1]) % 2**32
    return one, (sums[1] + one) % 2**32


def _product(words: Words, factors: Words) -> Words:
    """Matrix product modulo 2**32."""
    return np.asarray(words.astype(np.uint32, copy=False) @ factors)


def _stored(frames: npt.NDArray[np.uint8]) -> Words:
    return np.ascontiguousarray(frames[:, 16:24]).view(">u4").astype(np.uint32)


def _big_endian(cells: npt.NDArray[np.uint8]) -> Words:
    return np.ascontiguousarray(cells).view(">u4").astype(np.uint32)[:, 0]


def _blocks(frames: npt.NDArray[np.uint8]) -> Iterator[npt.NDArray[np.uint8]]:
    for start in range(0, len(frames), _BLOCK):
        yield np.asarray(frames[start : start + _BLOCK])
