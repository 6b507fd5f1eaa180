"""Recall@10: of the ten documents nearest to a query, how many an approximate index finds.

It is measured on probes: stored documents that the index was not fitted to, each of which asks for its
nearest others, points half-way between two of them, and queries that were searched for lately. The truth is
an exact search over the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from index.ann import AnnSegment, Effort
from index.bits import Bits, ones
from index.log_snapshot import LogReads
from index.reranking import nearest_in_segment
from index.types import Vectors

if TYPE_CHECKING:
    from index.log import DocumentLog

K = 10
PROBES = 256
_MARGIN = 2.0  # standard errors

_NO_ROW = -2  # neither a row nor what stands for the row of a query that is no document

# The truth is summed in float32, results in float64. A result that scores as high as the tenth neighbour
# is as good as it, whichever of equal documents it is.
_SCORE_SLACK = 2e-6


@dataclass(frozen=True, slots=True)
class Probes:
    """Queries [P, D] of unit length; `own` [P] is the row of a query that is a document, or -1."""

    queries: Vectors
    own: npt.NDArray[np.int64]

    @classmethod
    def of(cls, rows: Sequence[int], vectors: Vectors, searched: Sequence[Vectors]) -> Probes:
        """Documents' rows and vectors, and queries that were searched for.

        Every second document is taken half-way to another: queries seldom lie where documents do (a question
        and its answer, a text and a picture), and what lies between cells is what an index misses.
        """
        between = vectors[1::2] + np.roll(vectors, -(len(vectors) // 2), axis=0)[1::2]
        between /= np.linalg.norm(between, axis=1, keepdims=True) + 1e-12
        queries = np.concatenate(
            [vectors[::2], between, np.asarray(searched, np.float32).reshape(-1, vectors.shape[1])]
        )
        return cls(queries, np.array([*rows[::2], *[-1] * (len(between) + len(searched))], np.int64))


class Truth:
    """The ten nearest of each probe, gathered batch by batch: their rows and their scores."""

    def __init__(self, probes: Probes) -> None:
        """Begin with no documents seen."""
        self.probes = probes
        self._scores = np.full((len(probes.own), K), -np.inf, np.float32)
        self._rows = np.full((len(probes.own), K), _NO_ROW, np.int64)

    def add(self, rows: Sequence[int] | npt.NDArray[np.int64], vectors: Vectors) -> None:
        """See more documents: their row keys, ascending, and unit vectors [N, D]."""
        keys = np.asarray(rows, np.int64)
        scores = self.probes.queries @ vectors.T
        scores[self.probes.own[:, None] == keys] = -np.inf  # a document is not its own neighbour
        joined = np.concatenate([self._scores, scores], axis=1)
        best = np.argpartition(joined, joined.shape[1] - K, axis=1)[:, -K:]
        everything = np.concatenate([self._rows, np.broadcast_to(keys, scores.shape)], axis=1)
        self._scores = np.take_along_axis(joined, best, axis=1)
        self._rows = np.take_along_axis(everything, best, axis=1)

    def recall(
        self, segment: AnnSegment, log: DocumentLog, live: Bits | None = None
    ) -> npt.NDArray[np.float64]:
        """Recall@10 of each probe, at the segment's effort; `live` says which of its documents still are.

        Neighbours that were deleted since they were gathered count neither as found nor as missed.
        """
        with log.snapshot() as now:
            live_rows, _ = now.live_vectors(np.unique(self._rows[self._rows != _NO_ROW]).tolist())
        there = np.isin(self._rows, live_rows) & np.isfinite(self._scores)
        expected = np.count_nonzero(there, axis=1)
        least = np.where(there, self._scores, np.inf).min(axis=1) - _SCORE_SLACK
        found = [
            int(np.count_nonzero(scores >= low))
            for scores, low in zip(self._found(segment, log, live), least, strict=True)
        ]
        return np.minimum(np.array(found), expected)[expected > 0] / expected[expected > 0]

    def _found(
        self, segment: AnnSegment, log: DocumentLog, live: Bits | None
    ) -> Iterator[npt.NDArray[np.float64]]:
        """The exact scores of what a search for each probe finds, best first, without the probe itself."""
        size = len(segment.rows)
        passing = size if live is None else ones(live, size)
        bits = None if passing == size else live
        for query, own in zip(self.probes.queries, self.probes.own.tolist(), strict=True):
            with log.snapshot() as now:
                found = nearest_in_segment(segment, query, K + (own >= 0), bits, passing, _Surviving(now))
            yield -np.sort(-found.scores[found.rows != own])[:K]


class _Surviving:
    """A log's vectors, in which rows that were deleted since have zeros, near to nothing."""

    def __init__(self, log: LogReads) -> None:
        self._log = log

    def vectors(self, rows: Sequence[int]) -> Vectors:
        """The vectors [N, D] under row keys, which ascend."""
        live, found = self._log.live_vectors(rows)
        vectors = np.zeros((len(rows), found.shape[1]), np.float32)
        vectors[np.isin(rows, live)] = found
        return vectors


def tuned(
    segment: AnnSegment,
    efforts: Sequence[Effort],
    truth: Truth,
    floor: float,
    log: DocumentLog,
    live: Bits | None = None,
) -> AnnSegment | None:
    """The segment with the least effort that reaches a floor on recall, or None; for `live` see `Truth`.

    It must do so by two standard errors of the mean, since the probes are a sample, and of many
    efforts the least that passes was lucky with it.
    """
    for effort in efforts:
        tried = replace(segment, effort=effort)
        recall = truth.recall(tried, log, live)
        mean = float(recall.mean()) if len(recall) else 1.0
        if mean == 1.0 or mean - _MARGIN * float(recall.std()) / np.sqrt(len(recall)) >= floor:
            return replace(tried, recall=mean)
    return None
