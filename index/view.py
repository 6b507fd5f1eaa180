"""The searchable view of a collection, in memory: a FAISS index that only grows, and a mark on what is live.

FAISS numbers vectors by position. A deleted or replaced document keeps its position, marked dead, and a
bitmap keeps FAISS from looking at it; the same bitmap carries metadata filters, so k results come back
whenever k documents pass. When more positions are dead than live the index is made anew. This asks
nothing of FAISS but adding and selecting, which every kind of index can do.

Not thread-safe: the caller lets searches run together and changes run alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from index.filters import Filter
from index.snapshot import FORMAT, Snapshot, SnapshotHeader
from index.types import Vectors

FLAT = "flat"

# FAISS sums in float32, in an order that depends on the position. Scores closer than this are settled
# by summing again in float64, so that equal vectors have equal scores and ties go by id.
_SCORE_SLACK = 1e-5
_MIN_DEAD = 1024  # compacting a smaller index is not worth the copy

Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A document's row key in the log and its cosine similarity with the query."""

    row: int
    score: float


class View:
    """Vectors, ids and metadata of a collection's live documents, as of change number `sequence`."""

    def __init__(self, collection: str, dimensions: int, kind: str = FLAT) -> None:
        """Make an empty view of the collection with this uuid."""
        self.sequence = 0
        self.kind = kind
        self._collection = collection
        self._dimensions = dimensions
        self._index = _new_index(kind, dimensions)
        self._live: Mask = np.zeros(0, np.bool_)  # by position, with room to grow
        self._rows: Positions = np.zeros(0, np.int64)
        self._ids: list[str] = []
        self._metadata: list[Mapping[str, Any]] = []
        self._position_of: dict[str, int] = {}

    @property
    def count(self) -> int:
        """How many documents are live."""
        return len(self._position_of)

    def __contains__(self, document_id: str) -> bool:
        return document_id in self._position_of

    def put(
        self,
        rows: Sequence[int],
        ids: Sequence[str],
        metadata: Sequence[Mapping[str, Any]],
        vectors: Vectors,
    ) -> None:
        """Add documents with unit vectors [N, D], row keys ascending, each replacing what has its id."""
        start = len(self._ids)
        self._index.add(np.ascontiguousarray(vectors, dtype=np.float32))
        self._grow(start + len(ids))
        self._rows[start : start + len(ids)] = rows
        self._ids.extend(ids)
        self._metadata.extend(metadata)
        for position, document_id in enumerate(ids, start):
            self._bury(document_id)
            self._position_of[document_id] = position
            self._live[position] = True
        self.sequence = rows[-1]
        self._compact_if_due()

    def remove(self, document_id: str, sequence: int) -> None:
        """Take out a document, by the change with this number."""
        self._bury(document_id)
        self.sequence = sequence
        self._compact_if_due()

    def search(self, query: Vectors, k: int, condition: Filter | None = None) -> list[Neighbour]:
        """The k nearest live documents that pass the filter, best first, ties by id; `query` is [D], unit."""
        mask = self._passing(condition)
        passing = int(np.count_nonzero(mask))
        if not passing:
            return []
        parameters = None
        if passing < len(mask):
            bits = np.packbits(mask, bitorder="little")
            # FAISS's stubs describe its C++ signatures, not the ones its Python wrappers give them.
            selector = faiss.IDSelectorBitmap(bits)  # type: ignore[call-arg, arg-type]
            parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
        candidates = self._candidates(query, min(k, passing), passing, parameters)
        scores = _exact_scores(self._index.reconstruct_batch(candidates), query)
        ids = self._ids
        best = sorted(zip(-scores, (ids[p] for p in candidates), candidates, strict=True))[:k]
        return [Neighbour(int(self._rows[position]), float(-negated)) for negated, _, position in best]

    def snapshot(self) -> Snapshot:
        """Copy the view's vectors and row keys, for writing to disk."""
        used = len(self._ids)
        header = SnapshotHeader(
            FORMAT, self._collection, self.sequence, self.kind, self._dimensions, count=used
        )
        return Snapshot(header, self._rows[:used].copy(), faiss.serialize_index(self._index))

    def restore(
        self, snapshot: Snapshot, index: Any, live: Mapping[int, tuple[str, Mapping[str, Any]]]
    ) -> None:
        """Take a snapshot's vectors into an empty view; rows that are not in `live` are dead.

        `live` gives the id and metadata of each live row.
        """
        self._index = index
        self._grow(len(snapshot.rows))
        self._rows[: len(snapshot.rows)] = snapshot.rows
        for position, row in enumerate(snapshot.rows.tolist()):
            document_id, metadata = live.get(row, ("", {}))
            self._ids.append(document_id)
            self._metadata.append(metadata)
            if row in live:
                self._position_of[document_id] = position
                self._live[position] = True
        self.sequence = snapshot.header.sequence
        self._compact_if_due()

    def _candidates(self, query: Vectors, k: int, passing: int, parameters: Any) -> Positions:
        """Positions that hold the k best, with all that rounding cannot tell from the last of them."""
        batch = query.reshape(1, -1)
        scores, positions = self._index.search(batch, min(k + 1, passing), params=parameters)
        if k == passing or scores[0, k - 1] - scores[0, k] > _SCORE_SLACK:
            return np.asarray(positions[0, :k], np.int64)
        radius = float(scores[0, k - 1]) - _SCORE_SLACK
        _, _, near = self._index.range_search(batch, radius, params=parameters)
        return np.asarray(near, np.int64)

    def _passing(self, condition: Filter | None) -> Mask:
        live = self._live[: len(self._ids)]
        if condition is None:
            return live
        mask = np.zeros(len(live), np.bool_)
        positions = np.flatnonzero(live)
        metadata = self._metadata
        mask[positions] = [condition.matches(metadata[position]) for position in positions.tolist()]
        return mask

    def _bury(self, document_id: str) -> None:
        position = self._position_of.pop(document_id, None)
        if position is not None:
            self._live[position] = False
            self._metadata[position] = {}

    def _grow(self, needed: int) -> None:
        if needed > len(self._live):
            room = max(needed, 2 * len(self._live), 1024)
            self._live = np.concatenate([self._live, np.zeros(room - len(self._live), np.bool_)])
            self._rows = np.concatenate([self._rows, np.zeros(room - len(self._rows), np.int64)])

    def _compact_if_due(self) -> None:
        dead = len(self._ids) - self.count
        if dead < _MIN_DEAD or dead < self.count:
            return
        kept = np.flatnonzero(self._live[: len(self._ids)])
        index = _new_index(self.kind, self._dimensions)
        if len(kept):
            index.add(self._index.reconstruct_batch(kept))
        self._index = index
        self._rows = self._rows[kept]
        self._live = np.ones(len(kept), np.bool_)
        self._ids = [self._ids[position] for position in kept.tolist()]
        self._metadata = [self._metadata[position] for position in kept.tolist()]
        self._position_of = {document_id: position for position, document_id in enumerate(self._ids)}


def _new_index(kind: str, dimensions: int) -> Any:
    """Return an empty FAISS index of a kind; unit vectors make its inner product the cosine."""
    if kind != FLAT:
        raise ValueError(f"index kind must be {FLAT!r}, not {kind!r}")
    return faiss.IndexFlatIP(dimensions)


def _exact_scores(vectors: Vectors, query: Vectors) -> npt.NDArray[np.float64]:
    """Cosine of unit vectors [N, D] with a query [D]; the same vector scores the same in any row."""
    return np.sum(vectors.astype(np.float64) * query.astype(np.float64), axis=1)
