"""When a decode step waits for more rows."""

from __future__ import annotations

FEW = 8  # rows that cost little more than one: a step reads all weights, however few rows it has
MOST_DEFERRED = 5  # turns in a row, so that new queries cannot hold up an answer for long


class StepDeferral:
    """Puts a step of few rows off while turns prefill queries that may join it.

    A turn that prefills documents or nothing always decodes, so that nothing waits in vain. Measured on
    two cores with 16 callers (benchmarks/engine_vs_naive.py): adaptive routing's extra latency falls by a
    tenth; with 16 rows and 8 turns it rises.
    """

    def __init__(self, few: int = FEW, most: int = MOST_DEFERRED) -> None:
        self._few, self._most, self._deferred = few, most, 0

    def defers(self, rows: int, joins: bool) -> bool:
        """Whether this turn's step of so many rows waits; `joins`: the turn prefilled what may join them."""
        if joins and 0 < rows <= self._few and self._deferred < self._most:
            self._deferred += 1
            return True
        self._deferred = 0
        return False
