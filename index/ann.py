"""The approximate part of a view: a trained FAISS index over compressed vectors, unchanged once published.

Both kinds keep one byte a dimension (FAISS's SQ8), a quarter of the vectors' own memory. What they find is
only a candidate: its score comes from the exact vector, in a file (`index.exact_file`) or else in the log.

    ivf    inverted file: k-means cells, of which a search visits the `breadth` nearest; quick to build
    hnsw   navigable small world graph, walked with a list of `breadth` candidates (Malkov and Yashunin,
           arXiv 1603.09320); slow to build, answers soonest where cells overlap
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import faiss
import numpy as np
import numpy.typing as npt

from index.bits import Bits, Positions, selector
from index.cells import Cells, CellScores, NearCells
from index.exact_file import ExactFile, Rows
from index.gpu import GpuIndex
from index.types import Vectors

Forms = Sequence[bytes]  # of documents, as an `ExactFile` has them
CodedScores = npt.NDArray[np.float32]
Candidates = tuple[Positions, CodedScores]

IVF = "ivf"
HNSW = "hnsw"

HNSW_LINKS = 24
HNSW_CONSTRUCTION = 80
_CELLS_PER_ROOT = 4  # cells for N vectors: 4 * sqrt(N), as FAISS's guidelines have it
_MAX_CELLS = 65_536
# When at most this share of the documents passes a filter, looking at all of them is sure and not slow;
# a graph or cells that are mostly forbidden would hide neighbours.
_SCAN_SHARE = 0.1
_MORE = 16  # times the effort, where a search has found too little
_SPARE_CANDIDATES = 10
_DEPTHS = (1.0, 4.0)  # candidates per neighbour asked for, besides the spare ones
_CANDIDATES_PER_CELL_VISIT = 4  # a search for many neighbours visits cells that hold this many times as many


class VectorReads(Protocol):
    """What a segment needs of a log, where it has no exact vectors itself."""

    def vectors(self, rows: Sequence[int]) -> Vectors:
        """The vectors [N, D] under row keys, which are given in ascending order."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard a search tries: cells visited (ivf) or list length (hnsw), and candidates per neighbour."""

    breadth: int
    depth: float


@dataclass(frozen=True, slots=True)
class AnnSegment:
    """A trained index over the vectors of `rows` [N], ascending: all that were live after change `sequence`.

    `trained_for` is how many documents there were when its cells or ranges were fitted, `recall` its last
    measured recall@10 at `effort`.
    """

    kind: str
    index: Any
    rows: Rows
    sequence: int
    trained_for: int
    effort: Effort
    recall: float
    on_gpu: GpuIndex | None = None
    exact: ExactFile | None = None
    cells: NearCells | None = None

    def exactly(self, positions: Positions, rows: Rows, log: VectorReads) -> tuple[Vectors, Forms]:
        """The exact vectors [N, D] at positions, which are live in the log, and their documents' forms.

        `rows` [N] are their row keys; a form is empty where the log had to be asked.
        """
        if self.exact is None:
            return _from_log(rows, log), [b""] * len(rows)
        vectors, right, forms = self.exact.read(positions, rows)
        if right.all():
            return vectors, forms
        vectors = vectors.copy()
        vectors[~right] = _from_log(rows[~right], log)
        return vectors, [form if fit else b"" for form, fit in zip(forms, right, strict=True)]

    def candidates(self, query: Vectors, k: int, bits: Bits | None, passing: int) -> Candidates:
        """Positions that should hold the k nearest that pass, and some more; `passing` is how many do.

        With their scores by the index's codes, the best first.
        """
        wanted = min(passing, math.ceil(k * self.effort.depth) + _SPARE_CANDIDATES)
        if bits is not None and passing <= _SCAN_SHARE * len(self.rows):
            return self._scan(query, wanted, bits)
        for more in (1, _MORE):
            found = self._search(query, wanted, bits, more * len(self.rows) / passing)
            if len(found[0]) == wanted:
                return found
        # Fewer than asked for: the neighbours that pass lie where the search did not come.
        return self._scan(query, wanted, bits)

    def _search(self, query: Vectors, wanted: int, bits: Bits | None, widening: float) -> Candidates:
        breadth = visited = math.ceil(self.effort.breadth * widening)
        chosen = None if bits is None else selector(bits)
        if self.kind == IVF:
            cells = self.index.nlist
            least = _CANDIDATES_PER_CELL_VISIT * wanted * widening * cells / len(self.rows)
            visited = min(cells, max(breadth, math.ceil(least)))
            parameters = _parameters(IVF, visited, chosen)
        else:
            parameters = _parameters(HNSW, max(breadth, wanted), chosen)
        if self.on_gpu is not None and chosen is None:
            return _cut(*self.on_gpu.search(query, wanted, parameters))
        if self.cells is not None and self.cells.suit(visited):
            near = self.cells.nearest(query, visited)
            return _found_in_cells(self.index, query, wanted, near, parameters)
        return _found(self.index, query, wanted, parameters)

    def _scan(self, query: Vectors, wanted: int, bits: Bits | None) -> Candidates:
        """Look at every compressed vector that passes."""
        chosen = None if bits is None else selector(bits)
        if self.kind == IVF:
            return _found(self.index, query, wanted, _parameters(IVF, self.index.nlist, chosen))
        storage = faiss.downcast_index(self.index.storage)
        return _found(storage, query, wanted, faiss.SearchParameters(sel=chosen))


def _from_log(rows: Rows, log: VectorReads) -> Vectors:
    """Exact vectors [N, D] of rows in any order; the log is read in its own."""
    order = np.argsort(rows)
    vectors = log.vectors(rows[order].tolist())
    return vectors[np.argsort(order)]


def _found(index: Any, query: Vectors, wanted: int, parameters: Any) -> Candidates:
    (scores,), (positions,) = index.search(query.reshape(1, -1), wanted, params=parameters)
    return _cut(scores, positions)


def _found_in_cells(
    index: Any, query: Vectors, wanted: int, near: tuple[Cells, CellScores], parameters: Any
) -> Candidates:
    """As `_found`, in cells that are known; FAISS's own wrapper of this takes no parameters."""
    scores, positions = np.empty(wanted, np.float32), np.empty(wanted, np.int64)
    pointers = [faiss.swig_ptr(array) for array in (np.ascontiguousarray(query), *near, scores, positions)]
    index.search_preassigned_c(
        1, pointers[0], wanted, pointers[1], pointers[2], pointers[3], pointers[4], False, parameters
    )
    return _cut(scores, positions)


def _cut(scores: CodedScores, positions: Positions) -> Candidates:
    if positions[-1] >= 0:
        return positions, scores
    held = positions >= 0  # -1 fills up where fewer were found
    return positions[held], scores[held]


def _parameters(kind: str, breadth: int, chosen: Any) -> Any:
    """What FAISS is to search with; `chosen` is a selector, or None for all."""
    return _everything(kind, breadth) if chosen is None else _made(kind, breadth, chosen)


@lru_cache(maxsize=256)  # making them takes as long as a dozen cells' codes
def _everything(kind: str, breadth: int) -> Any:
    return _made(kind, breadth, None)


def _made(kind: str, breadth: int, chosen: Any) -> Any:
    if kind == IVF:
        return faiss.SearchParametersIVF(nprobe=breadth, sel=chosen)
    return faiss.SearchParametersHNSW(efSearch=breadth, sel=chosen)


def new_index(kind: str, dimensions: int, count: int) -> Any:
    """Return an untrained index of a kind for about `count` unit vectors; inner product is their cosine."""
    if kind == IVF:
        quantizer = faiss.IndexFlatIP(dimensions)
        index = faiss.IndexIVFScalarQuantizer(
            quantizer,
            dimensions,
            cells_for(count),
            faiss.ScalarQuantizer.QT_8bit,
            faiss.METRIC_INNER_PRODUCT,
        )
        index.own_fields = True
        quantizer.this.disown()
        return index
    index = faiss.IndexHNSWSQ(
        dimensions, faiss.ScalarQuantizer.QT_8bit, HNSW_LINKS, faiss.METRIC_INNER_PRODUCT
    )
    index.hnsw.efConstruction = HNSW_CONSTRUCTION
    return index


def cells_for(count: int) -> int:
    """How many cells an inverted file over `count` vectors has."""
    return max(1, min(_MAX_CELLS, int(_CELLS_PER_ROOT * math.sqrt(count)), count // 4))


def efforts(kind: str, index: Any) -> list[Effort]:
    """What a search may try, the preferred first; more breadth than the most would cost what a scan costs.

    Twice the candidates that are asked for make up for one-byte codes as a rule, so breadth is raised before
    depth; where that is not enough, the codes are too coarse, and depth is raised from the least breadth on.
    """
    most = max(1, index.nlist // 4) if kind == IVF else 1024
    breadths = sorted({min(most, math.ceil(2 ** (step / 2))) for step in range(20)})
    if kind == HNSW:
        breadths = [breadth for breadth in breadths if breadth >= 16]
    return [Effort(breadth, depth) for depth in _DEPTHS for breadth in breadths]
