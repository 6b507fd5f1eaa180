"""Cells found by codes of one byte are those that FAISS finds by all centres."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from index import cells as cells_module
from index.ann import IVF, AnnSegment, Effort, new_index
from index.cells import NearCells
from index.compiled import library
from index.types import Vectors

pytestmark = pytest.mark.skipif(library() is None, reason="nothing is compiled here")


def unit(count: int, dimensions: int, seed: int) -> Vectors:
    drawn = np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))


@examples(deadline=None, max_examples=50)
@given(st.integers(1, 300), st.integers(1, 200), st.integers(1, 40), st.integers(0, 2**31))
def test_the_nearest_are_those_of_all_centres(count: int, dimensions: int, wanted: int, seed: int) -> None:
    centres, query = unit(count, dimensions, seed), unit(1, dimensions, seed + 1)[0]
    wanted = min(wanted, count)
    found, scores = NearCells(centres).nearest(query, wanted)
    exact = centres.astype(np.float64) @ query
    assert found.shape == scores.shape == (1, wanted)
    assert len(set(found[0])) == wanted
    np.testing.assert_allclose(scores[0], exact[found[0]], atol=1e-6)
    assert (np.diff(scores[0]) <= 0).all()
    # What is missed for a code's rounding is as near as what was taken for it, but for that rounding.
    least = np.sort(exact)[-wanted]
    rounding = np.abs(query).max() * np.abs(centres).sum(axis=1).max()
    rounding += np.abs(centres).max() * np.abs(query).sum()
    assert scores[0].min() >= least - 1.1 * rounding / 127


def test_in_the_size_that_it_is_for_none_is_missed() -> None:
    centres = unit(4000, 576, 0)
    found = NearCells(centres)
    for query in unit(50, 576, 1):
        expected = np.argsort(-(centres @ query))[:23]
        assert set(found.nearest(query, 23)[0][0]) == set(expected)


def test_a_query_of_nothing_and_centres_of_nothing_have_nearest_cells() -> None:
    found, scores = NearCells(np.zeros((30, 8), np.float32)).nearest(np.zeros(8, np.float32), 5)
    assert len(set(found[0])) == 5
    assert not scores.any()


def test_many_cells_and_few_are_left_to_faiss() -> None:
    near = NearCells(unit(4000, 8, 0))
    assert near.suit(23)
    assert not near.suit(1000)
    few = new_index(IVF, 16, 1200)
    few.train(unit(1200, 16, 0))
    assert NearCells.of(few) is None
    assert NearCells.of(faiss.IndexFlatIP(16)) is None


@pytest.mark.parametrize("share", [None, 0.5])
def test_a_segment_finds_by_them_what_faiss_finds(
    monkeypatch: pytest.MonkeyPatch, share: float | None
) -> None:
    monkeypatch.setattr(cells_module, "_LEAST_CELLS", 100)
    vectors, count = unit(4000, 32, 0), 4000
    index = new_index(IVF, 32, count)
    index.train(vectors)
    index.add(vectors)
    rows = np.arange(count)
    cells = NearCells.of(index)
    assert cells is not None
    assert cells.suit(20)
    bits = None if share is None else np.packbits(rows % 2 == 0, bitorder="little")
    passing = count if share is None else count // 2
    with_cells, without = (
        AnnSegment(IVF, index, rows, 1, count, Effort(10, 1.0), 1.0, cells=each) for each in (cells, None)
    )
    for query in unit(50, 32, 1):
        found, scores = with_cells.candidates(query, 10, bits, passing)
        expected, exact = without.candidates(query, 10, bits, passing)
        assert set(found) == set(expected)  # two that are as near but for rounding may change places
        np.testing.assert_allclose(scores, exact, atol=1e-5)
