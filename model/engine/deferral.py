"""When a decode step waits for more rows."""

from __future__ import annotations

FEW = 8  # rows that cost little more than one: a step reads all weights, however few rows it has
MOST_DEFERRED = 5  # turns in a row, so that new queries cannot hold up an answer for long


class StepDeferral:
    """Puts a step of few rows off while turns still prefill, as those may bring more of them.

    A turn that prefilled nothing always decodes, so nothing waits for queries that do not come. Measured on
    two cores with 16 callers (benchmarks/engine_vs_naive.py): adaptive routing's extra latency falls by a
    tenth; with 16 rows and 8 turns it rises.
    """

    def __init__(self, few: int = FEW, most: int = MOST_DEFERRED) -> None:
        self._few, self._most, self._deferred = few, most, 0

    def defers(self, rows: int, prefilled: bool) -> bool:
        """Whether this turn's step of so many rows is left to a later turn."""
        if prefilled and 0 < rows <= self._few and self._deferred < self._most:
            self._deferred += 1
            return True
        self._deferred = 0
        return False
