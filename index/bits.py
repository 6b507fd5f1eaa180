"""Packed bitmaps over positions, as FAISS's selectors read them: position p is bit p % 8 of byte p // 8."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

Bits = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]


def resized(bits: Bits, size: int) -> Bits:
    """Copy a bitmap to one over `size` positions; new positions are clear."""
    copy = np.zeros((size + 7) // 8, np.uint8)
    copy[: len(bits)] = bits
    return copy


def set_at(bits: Bits, positions: Positions) -> None:
    """Set the bits at positions, in place."""
    np.bitwise_or.at(bits, positions >> 3, np.left_shift(1, positions & 7).astype(np.uint8))


def clear_at(bits: Bits, positions: Positions) -> None:
    """Clear the bits at positions, in place."""
    np.bitwise_and.at(bits, positions >> 3, ~np.left_shift(1, positions & 7).astype(np.uint8))


def pack(mask: Mask) -> Bits:
    """Pack one truth value a position into a bitmap."""
    return np.packbits(mask, bitorder="little")


def unpack(bits: Bits, size: int) -> Mask:
    """Return one truth value for each of the first `size` positions."""
    return np.unpackbits(bits, count=size, bitorder="little").view(np.bool_)


def part(bits: Bits, start: int, stop: int) -> Bits:
    """Copy the bits of the positions from `start` to before `stop` into a bitmap of their own."""
    if not start % 8:
        return bits[start // 8 : (stop + 7) // 8]
    skipped = start // 8 * 8
    return pack(unpack(bits[start // 8 :], stop - skipped)[start - skipped :])


def ones(bits: Bits, size: int | None = None) -> int:
    """How many bits are set, of the first `size` positions or of all."""
    if size is None:
        return int(np.bitwise_count(bits).sum())
    whole, rest = divmod(size, 8)
    count = int(np.bitwise_count(bits[:whole]).sum())
    return count + (int(bits[whole]) & ((1 << rest) - 1)).bit_count() if rest else count


def selector(bits: Bits) -> Any:
    """Make FAISS look only at positions whose bit is set; the selector reads `bits` while it is used."""
    return faiss.IDSelectorBitmap(bits)
