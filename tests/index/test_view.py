"""Views of every kind against brute force: which neighbours, their scores, their order, under any filter."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index import ann
from index.ann import HNSW, IVF
from index.ann_training import SegmentTraining
from index.columns import Columns
from index.filters import parse_filter
from index.flat import FlatVectors
from index.log import DocumentLog
from index.settings import IndexSettings
from index.types import NewDocument, Vectors
from index.validation import encode_metadata
from index.view import View
from index.view_loading import view_of_log
from tests.index.documents import metadata, vector_of
from tests.index.test_filters import filters

DIMENSIONS = 4


class Written:
    """A log and the view of it, changed together, and what a dictionary would hold."""

    def __init__(self, folder: Path, dimensions: int = DIMENSIONS) -> None:
        DocumentLog.create(folder / "log", dimensions, "m")
        self.log = DocumentLog(folder / "log")
        self.view = View.empty(dimensions)
        self.columns = Columns(dimensions)
        self.held: dict[str, tuple[int, Any, Vectors]] = {}

    def put(self, batch: Sequence[tuple[str, Vectors, Any]]) -> None:
        unique = {document_id: (vector, data) for document_id, vector, data in batch}
        if not unique:
            return
        documents = [NewDocument(i, vector, None, None, data) for i, (vector, data) in unique.items()]
        vectors = np.stack([document.vector for document in documents])
        encoded = [encode_metadata(document.metadata) for document in documents]
        rows = self.log.upsert(documents, encoded, vectors, self._follow(vectors))
        self.held |= {d.id: (row, d.metadata, d.vector) for d, row in zip(documents, rows, strict=True)}

    def remove(self, document_id: str) -> None:
        nothing = np.empty((0, self.view.layout.tail.dimensions), np.float32)
        self.log.delete(document_id, self._follow(nothing))
        del self.held[document_id]

    def _follow(self, vectors: Vectors) -> Any:
        def change(sequence: int, rows: Sequence[int], removed: Sequence[int]) -> None:
            self.view = self.view.changed(sequence, rows, vectors, removed)

        return change

    def search(self, query: Vectors, k: int, given_filter: Any = None) -> list[tuple[int, float]]:
        """Rows and scores, as a collection would return them: ties by id, k at most."""
        names = {row: document_id for document_id, (row, _, _) in self.held.items()}
        with self.log.snapshot() as log:
            passing = None
            if given_filter is not None:
                passing = self.columns.passing(parse_filter(given_filter), self.view, log)
            found = self.view.search(query, k, passing, log)
        pairs = zip(found.rows, found.scores, strict=True)
        return sorted(pairs, key=lambda pair: (-pair[1], names[pair[0]]))[:k]

    def expected(self, query: Vectors, k: int, given_filter: Any = None) -> list[tuple[int, float]]:
        parsed = parse_filter(given_filter) if given_filter is not None else None
        scored = [
            (-float(np.sum(vector.astype(np.float64) * query.astype(np.float64))), document_id, row)
            for document_id, (row, data, vector) in self.held.items()
            if parsed is None or parsed.matches(data)
        ]
        return [(row, -negated) for negated, _, row in sorted(scored)[:k]]

    def train(self, kind: str) -> None:
        """Put a segment in place of the exact vectors."""
        training = SegmentTraining(self.log, IndexSettings(), threading.Event())
        segment = training.segment(kind, self.view, [])
        assert segment is not None
        tail = FlatVectors(self.view.layout.tail.dimensions)
        self.view = self.view.rebased(segment, tail, np.zeros(0, np.int64), segment.sequence)
        assert self.view.kind == kind


@pytest.fixture
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    made = Written(tmp_path_factory.mktemp("log"))
    yield made
    made.log.close()


# Few distinct vectors, so that ties are common; few ids, so that most are replaced or removed.
ids = st.integers(0, 30).map("doc-{}".format)
operations = st.lists(
    st.tuples(st.just("put"), st.lists(st.tuples(ids, st.integers(0, 5), metadata), max_size=12))
    | st.tuples(st.just("remove"), ids)
    | st.tuples(st.just("compact"), st.just(None)),
    max_size=12,
)


def compacted(view: View) -> View:
    live = np.flatnonzero(view.live_mask())
    tail = FlatVectors(DIMENSIONS)
    tail.write(0, view.layout.tail.gather(live))
    return view.rebased(None, tail, view.layout.rows(view.size)[live], view.sequence)


@settings(max_examples=40, deadline=None)
@given(operations, st.integers(0, 8), st.integers(1, 40), st.none() | filters)
def test_a_flat_search_equals_brute_force(
    tmp_path_factory: pytest.TempPathFactory, steps: Any, seed: int, k: int, given_filter: Any
) -> None:
    written = Written(tmp_path_factory.mktemp("log"))
    query = vector_of(str(seed), DIMENSIONS)
    for name, argument in steps:
        if name == "put":
            written.put([(i, vector_of(str(v), DIMENSIONS), data) for i, v, data in argument])
        elif name == "compact":
            written.view = compacted(written.view)
        elif argument in written.held:
            written.remove(argument)
        # Before each change too, so that columns are filled at different times.
        assert written.search(query, k, given_filter) == written.expected(query, k, given_filter)
    assert written.view.count == len(written.held)
    again = view_of_log(written.log)
    assert (again.live_rows() == written.view.live_rows()).all()
    written.log.close()


def test_all_of_many_equal_vectors_tie_by_id(written: Written) -> None:
    names = [f"{number:04}" for number in range(3000)]
    shuffled = list(np.random.default_rng(1).permutation(names))
    written.put([(name, vector_of("one", DIMENSIONS), {}) for name in shuffled])
    found = written.search(vector_of("other", DIMENSIONS), 1000)
    assert [shuffled[row - 1] for row, _ in found] == names[:1000]


def test_a_rare_document_is_found_among_many_that_are_nearer(written: Written) -> None:
    query = vector_of("query", DIMENSIONS)
    near = [(str(number), query, {"rare": False}) for number in range(5000)]
    written.put([*near, ("5000", -query, {"rare": True})])
    assert [row for row, _ in written.search(query, 10, {"rare": True})] == [5001]


def test_vectors_that_fill_several_chunks_are_all_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.flat._CHUNK_BYTES", 0)
    monkeypatch.setattr("index.flat._MIN_CHUNK_ROWS", 16)
    vectors = FlatVectors(8)
    made = np.stack([vector_of(str(number)) for number in range(100)])
    for start in range(0, 100, 7):
        vectors.write(start, made[start : start + 7])
    assert (vectors.gather(np.arange(99, -1, -1)) == made[::-1]).all()
    assert (np.concatenate(list(vectors.chunks(90))) == made[:90]).all()
    mask = np.arange(90) % 3 == 0
    query = vector_of("q")
    positions, scores = vectors.nearest(query, 5, 90, np.packbits(mask, bitorder="little"), 30)
    best = np.flatnonzero(mask)[np.argsort(-(made[:90][mask] @ query))[:5]]
    assert set(positions) == set(best)
    assert sorted(scores) == pytest.approx(sorted(made[best] @ query))


CLUSTERED = 3000


@pytest.fixture(scope="module", params=[IVF, HNSW])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    """A segment with some of its documents deleted and replaced, and others behind it."""
    written = Written(tmp_path_factory.mktemp(request.param), dimensions=16)
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(60, 16))
    noisy = centres[rng.integers(0, 60, CLUSTERED + 300)] + 0.6 * rng.normal(size=(CLUSTERED + 300, 16))
    vectors = (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)

    def data(number: int) -> dict[str, Any]:
        return {"kind": "abc"[number % 3], "year": number % 50, "tags": ["x"] * (number % 7 == 0)}

    documents = [(f"doc-{number}", vector, data(number)) for number, vector in enumerate(vectors)]
    written.put(documents[:CLUSTERED])
    written.train(request.param)
    written.put([(f"doc-{n}", -vectors[n], {"kind": "replaced"}) for n in range(0, 200)])
    written.put(documents[CLUSTERED:])
    for number in range(200, 400):
        written.remove(f"doc-{number}")
    yield written
    written.log.close()


def test_a_trained_view_finds_nearly_all_with_exact_scores(trained: Written) -> None:
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(50):
        _, _, near = trained.held[f"doc-{rng.integers(400, CLUSTERED + 300)}"]
        query = near + 0.1 * rng.normal(size=16).astype(np.float32)
        query /= np.linalg.norm(query)
        found, expected = trained.search(query, 10), trained.expected(query, 10)
        hits += len(set(found) & set(expected))  # rows with scores, exact to the last bit
        assert len(found) == 10
    assert hits >= 0.95 * 500


@settings(max_examples=60, deadline=None)
@given(filters, st.integers(0, CLUSTERED), st.integers(1, 50))
def test_a_filtered_search_of_a_trained_view_returns_what_passes(
    trained: Written, given_filter: Any, number: int, k: int
) -> None:
    query = trained.held[f"doc-{number}" if number >= 400 or number < 200 else "doc-0"][2]
    found, expected = trained.search(query, k, given_filter), trained.expected(query, k, given_filter)
    everything = dict(trained.expected(query, CLUSTERED + 300, given_filter))
    assert len(found) == len(expected)  # k wherever k pass
    assert all(everything[row] == score for row, score in found)
    if len(everything) <= 256:
        assert found == expected  # so few are looked at one by one


@pytest.mark.parametrize(
    "given_filter",
    [
        {"kind": "a"},
        {"year": {"gte": 45}},
        {"tags": "x"},
        {"$not": {"kind": "a"}},
        {"kind": {"in": ["a", "c"]}},
    ],
)
def test_recall_holds_under_filters_narrow_and_wide(trained: Written, given_filter: Any) -> None:
    rng = np.random.default_rng(11)
    hits = 0
    for _ in range(40):
        query = rng.normal(size=16).astype(np.float32)
        query /= np.linalg.norm(query)
        found, expected = trained.search(query, 10, given_filter), trained.expected(query, 10, given_filter)
        hits += len(set(found) & set(expected))
    assert hits >= 0.9 * 400


def test_a_segment_takes_up_what_lies_behind_it(trained: Written) -> None:
    view = trained.view
    segment = view.layout.segment
    assert segment is not None
    size = len(segment.rows)
    training = SegmentTraining(trained.log, IndexSettings(), threading.Event())
    absorbed = training.absorbed(view)
    assert len(segment.rows) == segment.index.ntotal == size  # the published one stays as it is
    grown = view.rebased(absorbed, FlatVectors(16), np.zeros(0, np.int64), absorbed.sequence)
    assert (grown.tail_size, grown.count) == (0, view.count)
    assert (grown.live_rows() == view.live_rows()).all()
    try:
        trained.view = grown
        query = trained.held[f"doc-{CLUSTERED + 7}"][2]
        assert trained.search(query, 5) == trained.expected(query, 5)
    finally:
        trained.view = view


def test_the_floor_on_recall_decides_the_effort(trained: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ann, "_SPARE_CANDIDATES", 0)
    kind = trained.view.kind
    least, most = (
        SegmentTraining(trained.log, IndexSettings(recall_floor=floor), threading.Event()).segment(
            kind, trained.view, []
        )
        for floor in (0.3, 0.99)
    )
    assert least is not None
    assert most is not None
    assert most.recall >= 0.99
    assert least.effort.breadth <= most.effort.breadth
    lazy = replace(most, effort=ann.Effort(1, 0.1))
    view = trained.view.rebased(lazy, FlatVectors(16), np.zeros(0, np.int64), trained.view.sequence)
    training = SegmentTraining(trained.log, IndexSettings(recall_floor=0.99), threading.Event())
    measured = training.measured(view, [])
    assert measured is not None
    assert measured.recall >= 0.99
    assert (measured.effort.depth, measured.effort.breadth) > (0.1, 1)
