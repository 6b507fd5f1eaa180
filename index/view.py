"""The searchable view of a collection, in memory, as of one change.

A view never changes. Each change to the collection makes a new one that shares all large parts with the
one before, and is published by replacing a reference. So searches need no lock: they go on with the view
that they took, while writers append behind its end.

Positions number the documents of a `Layout`: first those of the approximate segment, if there is one, then
those of the exact vectors behind it, in the order of their row keys. A deleted or replaced document keeps its
position and loses its bit in the bitmap of what is live. The bitmap is copied with each change: at a
million documents that is 125 kB. Ids and metadata stay in the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from index.ann import AnnSegment, Forms
from index.bits import Bits, Mask, Positions, clear_at, ones, pack, part, resized, set_at, unpack
from index.exact_file import Rows
from index.flat import FlatVectors
from index.log_snapshot import LogReads
from index.reranking import Scored, nearest_in_segment
from index.short_forms import documents_at_hand
from index.types import Document, Vectors

FLAT = "flat"


class Layout:
    """Which row is at which position, and where its vector is; appended to by one writer at a time.

    `tail_rows` and `tail` go together: the vector at index i of the tail has position `segment size + i`.
    """

    def __init__(self, segment: AnnSegment | None, tail: FlatVectors, tail_rows: Rows) -> None:
        """Begin with a segment and the exact vectors behind it."""
        self.segment = segment
        self.tail = tail
        self.start = 0 if segment is None else len(segment.rows)
        self._rows = tail_rows if segment is None else np.concatenate([segment.rows, tail_rows])

    def rows(self, size: int) -> Rows:
        """The row keys of the first `size` positions, ascending."""
        return self._rows[:size]

    def append(self, size: int, rows: Sequence[int], vectors: Vectors) -> int:
        """Put documents behind position `size`; return the size with them.

        What an abandoned change put there is overwritten: no view knows of it.
        """
        after = size + len(rows)
        if after > len(self._rows):
            room = np.zeros(max(after, len(self._rows) + len(self._rows) // 4, 1024), np.int64)
            room[:size] = self._rows[:size]
            self._rows = room
        self._rows[size:after] = rows
        self.tail.write(size - self.start, vectors)
        return after


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Row keys and exact cosines, best first: the k nearest, and all that tie with the last of them.

    `forms` are what the segment's file has of them; empty for those that it does not have.
    """

    rows: Sequence[int]
    scores: Sequence[float]
    forms: Forms


@dataclass(frozen=True, slots=True)
class View:
    """The live documents after change number `sequence`: `count` of the `size` positions of a layout."""

    sequence: int
    layout: Layout
    size: int
    live: Bits
    count: int

    @classmethod
    def empty(cls, dimensions: int) -> View:
        """The view of a collection without documents."""
        layout = Layout(None, FlatVectors(dimensions), np.zeros(0, np.int64))
        return cls(0, layout, 0, np.zeros(0, np.uint8), 0)

    @classmethod
    def of(cls, layout: Layout, size: int, live_rows: Rows, sequence: int) -> View:
        """The view of a layout in which the documents of `live_rows`, ascending, are live."""
        rows = layout.rows(size)
        known = live_rows[: np.searchsorted(live_rows, rows[-1], side="right")] if size else live_rows[:0]
        positions = np.searchsorted(rows, known)
        live = np.zeros((size + 7) // 8, np.uint8)
        set_at(live, positions[rows[positions] == known])
        return cls(sequence, layout, size, live, ones(live))

    @property
    def kind(self) -> str:
        """How neighbours are found: flat, ivf or hnsw."""
        return FLAT if self.layout.segment is None else self.layout.segment.kind

    @property
    def recall(self) -> float:
        """Recall@10 as it was last measured; flat is exact."""
        return 1.0 if self.layout.segment is None else self.layout.segment.recall

    @property
    def dead(self) -> int:
        """How many positions hold documents that are deleted or replaced."""
        return self.size - self.count

    @property
    def tail_size(self) -> int:
        """How many positions hold exact vectors."""
        return self.size - self.layout.start

    def changed(self, sequence: int, rows: Sequence[int], vectors: Vectors, removed: Sequence[int]) -> View:
        """The view after a change that wrote `rows` with unit vectors [N, D] and removed other rows.

        Only the newest view may be changed, and only by one thread at a time.
        """
        size = self.layout.append(self.size, rows, vectors)
        live = resized(self.live, size)
        set_at(live, np.arange(self.size, size))
        clear_at(live, self.positions(removed))
        return View(sequence, self.layout, size, live, self.count + len(rows) - len(removed))

    def positions(self, rows: Sequence[int] | Rows) -> Positions:
        """The positions of row keys that the view has."""
        return np.searchsorted(self.layout.rows(self.size), np.asarray(rows, np.int64))

    def live_mask(self) -> Mask:
        """Whether the document at each position is live, [size]."""
        return unpack(self.live, self.size)

    def live_rows(self) -> Rows:
        """The row keys of the live documents, ascending."""
        return self.layout.rows(self.size)[self.live_mask()]

    def search(self, query: Vectors, k: int, passing: Mask | None, log: LogReads) -> Neighbours:
        """The k nearest of the live documents, or of those in `passing` ([size], live ones only).

        `query` is [D] and of unit length; `log` must have the rows that are live in the view.
        """
        bits = self.live if passing is None else pack(passing)
        count = self.count if passing is None else int(np.count_nonzero(passing))
        chosen = None if count == self.size else bits
        segment, start = self.layout.segment, self.layout.start
        in_segment = start if chosen is None else ones(chosen, start)
        parts = []
        if segment is not None and in_segment:
            parts.append(nearest_in_segment(segment, query, k, chosen, in_segment, log))
        if count > in_segment:
            behind = None if chosen is None else part(chosen, start, self.size)
            found, scores = self.layout.tail.nearest(query, k, self.tail_size, behind, count - in_segment)
            parts.append(Scored(self.layout.rows(self.size)[found + start], scores, [b""] * len(found)))
        return _best(parts, k)

    def documents(self, found: Neighbours, log: LogReads) -> dict[int, Document]:
        """The documents of neighbours, by row: those that are at hand, and the others from the log."""
        at_hand = dict(zip(found.rows, documents_at_hand(found.forms), strict=True))
        documents = {row: document for row, document in at_hand.items() if document is not None}
        missing = [row for row in found.rows if row not in documents]
        return documents | log.documents(missing) if missing else documents

    def rebased(self, segment: AnnSegment | None, tail: FlatVectors, tail_rows: Rows, until: int) -> View:
        """This view over another layout, which holds what was live after change number `until`.

        What was written since is taken over from this view's exact vectors.
        """
        rows = self.layout.rows(self.size)
        newer = np.arange(np.searchsorted(rows, until, side="right"), self.size)
        newer = newer[self.live_mask()[newer]]
        layout = Layout(segment, tail, tail_rows)
        size = layout.start + len(tail_rows)
        if len(newer):
            vectors = self.layout.tail.gather(newer - self.layout.start)
            size = layout.append(size, rows[newer].tolist(), vectors)
        return View.of(layout, size, self.live_rows(), self.sequence)

    def with_segment(self, segment: AnnSegment) -> View:
        """This view with its segment's effort or recall replaced."""
        layout = Layout(segment, self.layout.tail, self.layout.rows(self.size)[self.layout.start :])
        return replace(self, layout=layout)


def _best(parts: Sequence[Scored], k: int) -> Neighbours:
    found = [zip((-part.scores).tolist(), part.rows.tolist(), part.forms, strict=True) for part in parts]
    ranked = sorted(chain.from_iterable(found))
    end = min(k, len(ranked))
    while end < len(ranked) and ranked[end][0] == ranked[k - 1][0]:
        end += 1
    best = ranked[:end]
    return Neighbours(
        [row for _, row, _ in best], [-negated for negated, _, _ in best], [record for _, _, record in best]
    )
