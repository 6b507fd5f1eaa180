"""Which of an inverted file's cells are nearest to a query, without reading every centre.

FAISS compares a query with all centres, four bytes a dimension: at a million documents 9 MB, a fifth of a
search. Here it is compared with codes of one byte, and then exactly with the centres of twice as many cells
as are wanted, among which the wanted ones are but for rare exceptions.
"""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from index.compiled import addresses, library
from index.types import Vectors

Cells = npt.NDArray[np.int64]
CellScores = npt.NDArray[np.float32]

_LEAST_CELLS = 1000  # so few FAISS compares as quickly
_SPARE = 16
_MOST_SHARE = 4  # of the cells: to look at more exactly costs what looking at all does


class NearCells:
    """The centres of an inverted file's cells, `[cells, D]`, with their codes."""

    def __init__(self, centres: Vectors) -> None:
        """Raises `RuntimeError` where nothing is compiled."""
        compiled = library()
        if compiled is None:
            raise RuntimeError("Nothing is compiled: get a C compiler, then install Solomon again.")
        self._compiled = compiled
        self._centres = np.ascontiguousarray(centres, np.float32)
        largest = float(np.abs(self._centres).max(initial=0)) or 1.0
        self._codes = (np.rint(self._centres * (127 / largest)) + 128).astype(np.uint8)

    @classmethod
    def of(cls, index: Any) -> NearCells | None:
        """Those of an inverted file; None where FAISS finds them as quickly."""
        if not isinstance(index, faiss.IndexIVF) or index.nlist < _LEAST_CELLS or library() is None:
            return None
        return cls(faiss.downcast_index(index.quantizer).reconstruct_n(0, index.nlist))

    def suit(self, wanted: int) -> bool:
        """Whether so many cells are found sooner than by comparing with all centres."""
        return _MOST_SHARE * self._looked_at(wanted) <= len(self._centres)

    def nearest(self, query: Vectors, wanted: int) -> tuple[Cells, CellScores]:
        """The cells nearest to a query `[D]`, and their centres' scores, each `[1, wanted]`, best first."""
        cells, dimensions = self._centres.shape
        looked_at = self._looked_at(wanted)
        given = np.ascontiguousarray(query, np.float32)
        codes, sums = np.empty(dimensions, np.int8), np.empty(cells, np.int32)
        found, scores = np.empty(looked_at, np.int64), np.empty(looked_at, np.float32)
        self._compiled.near_cells(
            cells,
            dimensions,
            *addresses(self._codes, self._centres, given),
            looked_at,
            *addresses(codes, sums, found, scores),
        )
        best = np.argsort(-scores, kind="stable")[:wanted]
        return found[best].reshape(1, -1), scores[best].reshape(1, -1)

    def _looked_at(self, wanted: int) -> int:
        return min(2 * wanted + _SPARE, len(self._centres))
