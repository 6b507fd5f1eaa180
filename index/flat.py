"""Exact vectors in memory, searched by looking at every one of them.

They lie in chunks that are reserved whole and never move, so vectors can be appended while searches run.
Who searches says how many of the vectors it means; what a writer puts beyond that is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator

import faiss
import numpy as np
import numpy.typing as npt

from index.bits import Bits, Positions, selector, unpack
from index.compiled import addresses, library
from index.types import Vectors

Scores = npt.NDArray[np.float64]

# FAISS sums in float32, in an order that depends on the position. Scores closer than this are settled
# by summing again in float64, so that equal vectors have equal scores and ties go by id.
_SCORE_SLACK = 1e-5
_CHUNK_BYTES = 64 * 2**20  # of address space; memory is taken page by page, as vectors come
_MIN_CHUNK_ROWS = 1024
_SCORED_AT_ONCE = 4096


class FlatVectors:
    """Unit vectors [N, D] by position, in append-only chunks."""

    def __init__(self, dimensions: int) -> None:
        """Make room for vectors of a length; `dimensions` is D."""
        self.dimensions = dimensions
        # Whole bytes of a bitmap for each chunk, so that its part of the bitmap can be cut out.
        self._chunk_rows = max(_MIN_CHUNK_ROWS, _CHUNK_BYTES // (4 * dimensions) // 8 * 8)
        self._chunks: list[Vectors] = []

    def write(self, start: int, vectors: Vectors) -> None:
        """Put vectors at positions `start` and up, which no search has been told of yet."""
        self.reserve(start + len(vectors))
        done = 0
        while done < len(vectors):
            number, offset = divmod(start + done, self._chunk_rows)
            part = vectors[done : done + self._chunk_rows - offset]
            self._chunks[number][offset : offset + len(part)] = part
            done += len(part)

    def reserve(self, count: int) -> None:
        """Have room for the first `count` vectors."""
        while len(self._chunks) * self._chunk_rows < count:
            self._chunks.append(np.empty((self._chunk_rows, self.dimensions), np.float32))

    def chunks(self, count: int) -> Iterator[Vectors]:
        """The first `count` vectors, chunk after chunk, without copying."""
        for start in range(0, count, self._chunk_rows):
            yield self._chunks[start // self._chunk_rows][: count - start]

    def gather(self, positions: Positions) -> Vectors:
        """Copy the vectors at positions."""
        found = np.empty((len(positions), self.dimensions), np.float32)
        numbers = positions // self._chunk_rows
        for number in np.unique(numbers).tolist():
            here = numbers == number
            found[here] = self._chunks[number][positions[here] - number * self._chunk_rows]
        return found

    def nearest(
        self, query: Vectors, k: int, count: int, bits: Bits | None, passing: int
    ) -> tuple[Positions, Scores]:
        """The k nearest of the first `count` vectors, and all that tie with the last of them.

        `bits` says which positions pass, None that all do; `passing` is their number. Scores are exact
        (float64) cosines with `query` [D]; the order is not sorted.
        """
        if not passing:
            return np.empty(0, np.int64), np.empty(0)
        k = min(k, passing)
        scores, positions = self._search(query, min(k + 1, passing), count, bits)
        if k < passing and scores[k - 1] - scores[k] <= _SCORE_SLACK:
            positions = self._within(query, float(scores[k - 1]) - _SCORE_SLACK, count, bits)
        else:
            positions = positions[:k]
        return positions, self._exact_scores(query, positions)

    def _search(
        self, query: Vectors, k: int, count: int, bits: Bits | None
    ) -> tuple[npt.NDArray[np.float32], Positions]:
        """The k best in float32, sorted."""
        found = []
        for start, chunk in zip(range(0, count, self._chunk_rows), self.chunks(count), strict=True):
            part = None if bits is None else bits[start // 8 : (start + len(chunk) + 7) // 8]
            scores, positions = _chunk_search(chunk, query, min(k, len(chunk)), part)
            found.append((scores, positions + start, positions >= 0))
        scores = np.concatenate([scores[held] for scores, _, held in found])
        positions = np.concatenate([positions[held] for _, positions, held in found])
        best = np.argsort(-scores, kind="stable")[:k]
        return scores[best], positions[best]

    def _within(self, query: Vectors, least: float, count: int, bits: Bits | None) -> Positions:
        """All passing positions whose float32 score is at least `least`."""
        scores = np.concatenate([chunk @ query for chunk in self.chunks(count)])
        near = scores >= least
        if bits is not None:
            near &= unpack(bits, count)
        return np.flatnonzero(near)

    def _exact_scores(self, query: Vectors, positions: Positions) -> Scores:
        parts = range(0, len(positions), _SCORED_AT_ONCE)
        return np.concatenate(
            [exact_scores(self.gather(positions[start : start + _SCORED_AT_ONCE]), query) for start in parts]
        )


def exact_scores(vectors: Vectors, query: Vectors) -> Scores:
    """Cosine of unit vectors [N, D] with a query [D]; the same vector scores the same in any row."""
    compiled, (count, dimensions) = library(), vectors.shape
    narrow = vectors.dtype == query.dtype == np.float32
    if compiled is None or not narrow or vectors.strides[1] != 4 or query.strides[0] != 4:
        return np.asarray(np.add.reduce(vectors * query.astype(np.float64), axis=1))
    scores = np.empty(count)
    stride = vectors.strides[0] // 4
    compiled.exact_scores(count, dimensions, stride, *addresses(vectors, query, scores))
    return scores


def _chunk_search(
    chunk: Vectors, query: Vectors, k: int, bits: Bits | None
) -> tuple[npt.NDArray[np.float32], Positions]:
    """Search one array [N, D] where it lies; -1 fills up where fewer than k pass.

    `faiss.knn` takes no selector, and an index would hold a copy, so this calls what both of them call.
    """
    scores, positions = np.empty(k, np.float32), np.empty(k, np.int64)
    pointers = [faiss.swig_ptr(array) for array in (query, chunk, scores, positions)]
    chosen = None if bits is None else selector(bits)
    faiss.knn_inner_product(
        pointers[0], pointers[1], chunk.shape[1], 1, len(chunk), k, pointers[2], pointers[3], chosen
    )
    return scores, positions
