"""Metadata by key, as columns over a view's positions, so that a filter is a few array operations.

A column is made when a filter first asks for its key, by reading the log, and filled up when a later filter
finds documents that it does not have yet. Writers know nothing of columns, so a key that is never filtered
by costs nothing. Equal values share a code; a condition is decided once for each code and then looked up
for each document. Columns of keys not asked for lately are given up when all of them outgrow their share.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np
import numpy.typing as npt

from index.bits import Mask, Positions
from index.filters import Either, Every, Exists, Filter, Negation, OneOf, Within
from index.log_snapshot import LogSnapshot
from index.values import ABSENT, UNKNOWN, Leaf, Values
from index.view import Layout, View

_LEAST_BYTES = 64 * 2**20  # what all columns of a collection may take, however small it is
_SHARE = 0.1  # of the vectors' own size (float32), beyond that

_LEAST_VALUES = 1024  # of documents that are gone, before a column is made anew

Codes = npt.NDArray[np.int32]


class Columns:
    """The columns of one collection, for any number of searches at a time."""

    def __init__(self, dimensions: int) -> None:
        """Begin without columns; `dimensions` is the length of the collection's vectors."""
        self._vector_bytes = 4 * dimensions
        self._lock = threading.Lock()
        self._columns: OrderedDict[str, _Column] = OrderedDict()  # the latest used is last

    def passing(self, condition: Filter, view: View, log: LogSnapshot) -> Mask:
        """Which positions of the view hold live documents that meet the condition, [size].

        `log` must show the change that the view shows.
        """
        live = view.live_mask()
        passing = self._evaluate(condition, view, live, log) & live
        self._give_up(view.size)
        return passing

    def _evaluate(self, condition: Filter, view: View, live: Mask, log: LogSnapshot) -> Mask:
        match condition:
            case Every(parts):
                return np.logical_and.reduce([self._evaluate(part, view, live, log) for part in parts])
            case Either(parts):
                return np.logical_or.reduce([self._evaluate(part, view, live, log) for part in parts])
            case Negation(part):
                return ~self._evaluate(part, view, live, log)
            case OneOf(key) | Within(key) | Exists(key):
                return self._column(key).meets(condition, view, live, log)
        raise TypeError(f"not a filter: {condition!r}")

    def _column(self, key: str) -> _Column:
        with self._lock:
            column = self._columns.setdefault(key, _Column(key))
            self._columns.move_to_end(key)
            return column

    def _give_up(self, size: int) -> None:
        """Drop the columns that were used longest ago, but for the last, while all take too much memory."""
        most = max(_LEAST_BYTES, _SHARE * self._vector_bytes * size)
        with self._lock:
            total = sum(column.bytes for column in self._columns.values())
            while total > most and len(self._columns) > 1:
                total -= self._columns.popitem(last=False)[1].bytes


class _Column:
    """The codes of one key's values, by position in a layout."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._values = Values(key)
        self._filling = threading.Lock()  # searches wait here for one another's reading, never for a writer
        self._layout: Layout | None = None
        self._codes: Codes = np.zeros(0, np.int32)
        self._sequence = -1  # of the latest view that it was filled for

    @property
    def bytes(self) -> int:
        """Memory taken, roughly."""
        return self._codes.nbytes + self._values.bytes

    def meets(self, leaf: Leaf, view: View, live: Mask, log: LogSnapshot) -> Mask:
        """Which positions of the view meet a condition on this key; what dead positions get is arbitrary."""
        with self._filling:
            if self._layout is not view.layout or self._sequence != view.sequence:
                if self._values.count > 2 * view.count + _LEAST_VALUES:
                    self._forget()
                self._follow(view)
                self._fill(view, live, log)
            codes = self._codes[: view.size]
            table = self._values.table(leaf)
        # A search of an older view may be filling in what is dead here, with codes beyond this table.
        return np.take(table, codes, mode="clip")

    def _forget(self) -> None:
        """Begin anew: most values are of documents that are gone. Whoever reads the old codes keeps them."""
        self._values = Values(self._key)
        self._codes = np.zeros(0, np.int32)
        self._layout = None

    def _follow(self, view: View) -> None:
        """Have a code, known or not, for each position of the view."""
        rows = view.layout.rows(view.size)
        if self._layout is None or self._layout is view.layout:
            if len(self._codes) < view.size:
                room = np.full(view.size + view.size // 4, UNKNOWN, np.int32)
                room[: len(self._codes)] = self._codes
                self._codes = room
        else:
            known = np.flatnonzero(self._codes != UNKNOWN)
            known_rows = self._layout.rows(len(self._codes))[known]
            codes = np.full(view.size, UNKNOWN, np.int32)
            kept = known_rows <= (rows[-1] if view.size else -1)
            positions = np.searchsorted(rows, known_rows[kept])
            same = rows[positions] == known_rows[kept]
            codes[positions[same]] = self._codes[known[kept][same]]
            self._codes = codes
        self._layout = view.layout

    def _fill(self, view: View, live: Mask, log: LogSnapshot) -> None:
        """Read from the log what live documents of the view have not been read for."""
        unread: Positions = np.flatnonzero(live & (self._codes[: view.size] == UNKNOWN))
        if len(unread):
            rows = view.layout.rows(view.size)[unread]
            key, code, codes = self._key, self._values.code, np.empty(len(rows), np.int32)
            for at, (_, metadata) in enumerate(log.metadata(rows)):
                codes[at] = code(metadata[key]) if key in metadata else ABSENT
            self._codes[unread] = codes
        self._sequence = view.sequence
