"""Requests of a bounded size: Milvus refuses messages of more than 64 MiB."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

REQUEST_BYTES = 24 * 2**20
KEYS_AT_A_TIME = 1000

Row = TypeVar("Row")


def batches(rows: Sequence[Row], size: Callable[[Row], int], limit: int) -> Iterator[Sequence[Row]]:
    """Cut rows into runs of at most `limit` bytes; a larger row is a run of its own."""
    start, total = 0, 0
    for position, row in enumerate(rows):
        bytes_of_row = size(row)
        if position > start and total + bytes_of_row > limit:
            yield rows[start:position]
            start, total = position, 0
        total += bytes_of_row
    if start < len(rows):
        yield rows[start:]


def rows_at_a_time(dimensions: int) -> int:
    """How many rows with their vectors a response may hold, at some 4 KiB for the rest of a row."""
    return max(16, min(KEYS_AT_A_TIME, REQUEST_BYTES // (4 * dimensions + 4096)))
