"""What is left unread of a segment's candidates could not have been among the nearest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from index.bits import Positions
from index.reranking import nearest_in_segment
from index.types import Vectors

QUERY = np.array([1.0, 0.0], np.float32)


@dataclass
class Segment:
    """Documents with these exact scores for `QUERY`, found by others, and what was read of them."""

    exact: np.ndarray
    coded: np.ndarray
    read: list[int] = field(default_factory=list)

    @property
    def rows(self) -> np.ndarray:
        return np.arange(len(self.exact)) + 100

    def candidates(self, *_: object) -> tuple[Positions, np.ndarray]:
        best = np.argsort(-self.coded, kind="stable")
        return best, self.coded[best]

    def exactly(self, positions: Positions, rows: np.ndarray, _: object) -> tuple[Vectors, list[bytes]]:
        assert (rows == positions + 100).all()
        self.read += positions.tolist()
        scores = self.exact[positions]
        return np.stack([scores, np.zeros_like(scores)], axis=1), [b"%d" % row for row in rows]


def search(segment: Any, k: int) -> list[int]:
    found = nearest_in_segment(segment, QUERY, k, None, len(segment.exact), None)  # type: ignore[arg-type]
    assert found.forms == [b"%d" % row for row in found.rows]
    assert np.allclose(found.scores, segment.exact[found.rows - 100])
    return sorted(found.rows.tolist(), key=lambda row: -segment.exact[row - 100])[:k]


SCORES = st.lists(st.integers(-1000, 1000), min_size=1, max_size=40, unique=True)


@settings(deadline=None)
@given(SCORES, st.integers(1, 20), st.integers(0, 2**32 - 1), st.integers(0, 300))
def test_the_nearest_are_those_of_all_candidates(scores: list[int], k: int, seed: int, error: int) -> None:
    """If no code is off by more than the factor allows, which the first candidates tell."""
    exact = np.array(scores, np.float32) / 1000
    off = np.random.default_rng(seed).choice([-error, error], len(scores)) / 1000  # each is off by as much
    k = min(k, len(scores))
    expected = sorted(range(len(scores)), key=lambda at: -scores[at])[:k]
    assert search(Segment(exact, (exact + off).astype(np.float32)), k) == [at + 100 for at in expected]


def test_what_is_far_behind_is_not_read() -> None:
    exact = np.linspace(1, 0, 30, dtype=np.float32)
    segment = Segment(exact, exact + np.float32(0.001))
    assert search(segment, 10) == list(range(100, 110))
    assert sorted(segment.read) == list(range(11))


def test_of_coarse_codes_as_many_are_read_as_may_matter() -> None:
    exact = np.linspace(1, 0.99, 30, dtype=np.float32)
    segment = Segment(exact, exact[::-1] - np.linspace(0, 0.001, 30, dtype=np.float32))
    assert search(segment, 10) == list(range(100, 110))
    assert len(segment.read) == len(set(segment.read)) == 30
