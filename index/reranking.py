"""From an approximate segment's candidates to exact scores: of those that may be among the nearest.

The codes of a segment are one byte a dimension, so their scores are a little off. How far is seen in the
first candidates, and most of the others are then too far behind for it to matter: their exact vectors, which
cost a read each, are left unread.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from operator import sub

import numpy as np

from index.ann import AnnSegment, Forms, VectorReads
from index.bits import Bits, Positions, unpack
from index.exact_file import Rows
from index.flat import Scores, exact_scores
from index.types import Vectors

_SCORED_EXACTLY = 256  # so few documents of the segment are scored at once, whatever their codes say
_FIRST = 8  # candidates that are read in any case
_ERRORS = 3.0  # times the largest error among them: how far off another may be


@dataclass(frozen=True, slots=True)
class Scored:
    """Row keys [N] with exact cosines [N], in no order, and what the segment's file has of them.

    A form is empty for what the file does not have.
    """

    rows: Rows
    scores: Scores
    forms: Forms


def nearest_in_segment(
    segment: AnnSegment, query: Vectors, k: int, bits: Bits | None, passing: int, log: VectorReads
) -> Scored:
    """The k nearest of a segment to a unit vector [D], and others; `passing` is how many of it pass.

    `bits` says which do, by position; None that all do.
    """
    if bits is not None and passing <= _SCORED_EXACTLY:
        return _scored(segment, np.flatnonzero(unpack(bits, len(segment.rows))), query, log)
    within = None if bits is None else bits[: (len(segment.rows) + 7) // 8]
    positions, approximate = segment.candidates(query, k, within, passing)
    first = max(_FIRST, k + 1)
    scored = _scored(segment, positions[:first], query, log)
    more = _may_be_nearer(scored.scores.tolist(), approximate.tolist(), k)
    if not more:
        return scored
    others = _scored(segment, positions[first : first + more], query, log)
    return Scored(
        np.concatenate([scored.rows, others.rows]),
        np.concatenate([scored.scores, others.scores]),
        [*scored.forms, *others.forms],
    )


def _may_be_nearer(exact: Sequence[float], approximate: Sequence[float], k: int) -> int:
    """How many of the candidates behind the first, whose scores are known, may be of the k nearest."""
    behind = approximate[len(exact) :]
    if not behind:
        return 0
    error = max(map(abs, map(sub, exact, approximate)))
    least = sorted(exact)[-k] - _ERRORS * error
    return len(behind) - bisect_left(behind[::-1], least)


def _scored(segment: AnnSegment, positions: Positions, query: Vectors, log: VectorReads) -> Scored:
    rows = segment.rows[positions]
    vectors, forms = segment.exactly(positions, rows, log)
    return Scored(rows, exact_scores(vectors, query), forms)
