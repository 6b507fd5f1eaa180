from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from index import view as view_module
from index.filters import parse_filter
from index.types import Vectors
from index.view import View
from tests.index.documents import metadata, vector_of

DIMENSIONS = 4


def brute_force(held: dict[str, tuple[int, Any, Vectors]], query: Vectors, k: int, given_filter: Any) -> Any:
    parsed = parse_filter(given_filter) if given_filter else None
    scored = [
        (-float(np.sum(vector.astype(np.float64) * query.astype(np.float64))), document_id, row)
        for document_id, (row, data, vector) in held.items()
        if parsed is None or parsed.matches(data)
    ]
    return [(row, -negated) for negated, _, row in sorted(scored)[:k]]


# Few distinct vectors, so that ties are common; few ids, so that most are replaced or removed.
ids = st.integers(0, 30).map("doc-{}".format)
operations = st.lists(
    st.tuples(st.just("put"), st.lists(st.tuples(ids, st.integers(0, 5), metadata), max_size=12))
    | st.tuples(st.just("remove"), ids),
    max_size=12,
)


@given(
    operations,
    st.integers(0, 8),
    st.integers(1, 40),
    st.sampled_from(
        [None, {"kind": "a"}, {"year": {"gte": 0}}, {"$not": {"kind": "a"}}, {"tags": "nowhere"}]
    ),
    st.sampled_from([1, 1024]),
)
def test_search_equals_brute_force(steps: Any, seed: int, k: int, given_filter: Any, min_dead: int) -> None:
    patched, view_module._MIN_DEAD = view_module._MIN_DEAD, min_dead  # 1: compact all the time
    try:
        view = View("uuid", DIMENSIONS)
        held: dict[str, tuple[int, Any, Vectors]] = {}
        sequence = 0
        for name, argument in steps:
            if name == "put":
                unique = list({document_id: (document_id, v, m) for document_id, v, m in argument}.values())
                if not unique:
                    continue
                rows = list(range(sequence + 1, sequence + 1 + len(unique)))
                sequence = rows[-1]
                vectors = np.stack([vector_of(str(v), DIMENSIONS) for _, v, _ in unique])
                view.put(rows, [d for d, _, _ in unique], [m for _, _, m in unique], vectors)
                held |= {
                    d: (row, m, vector) for (d, _, m), row, vector in zip(unique, rows, vectors, strict=True)
                }
            elif argument in held:
                sequence += 1
                view.remove(argument, sequence)
                del held[argument]
        query = vector_of(str(seed), DIMENSIONS)
        parsed = parse_filter(given_filter) if given_filter else None
        found = [(neighbour.row, neighbour.score) for neighbour in view.search(query, k, parsed)]
        assert found == brute_force(held, query, k, given_filter)
        assert (view.count, view.sequence) == (len(held), sequence)
    finally:
        view_module._MIN_DEAD = patched


def test_all_of_many_equal_vectors_tie_by_id() -> None:
    view = View("uuid", DIMENSIONS)
    names = [f"{number:04}" for number in range(3000)]
    shuffled = list(np.random.default_rng(1).permutation(names))
    view.put(range(1, 3001), shuffled, [{}] * 3000, np.tile(vector_of("one", DIMENSIONS), (3000, 1)))
    found = view.search(vector_of("other", DIMENSIONS), 1000)
    assert [shuffled[neighbour.row - 1] for neighbour in found] == names[:1000]


def test_a_rare_document_is_found_among_many_that_are_nearer() -> None:
    view = View("uuid", DIMENSIONS)
    query = vector_of("query", DIMENSIONS)
    vectors = np.concatenate([np.tile(query, (5000, 1)), -query.reshape(1, -1)])
    data = [{"rare": False}] * 5000 + [{"rare": True}]
    view.put(range(1, 5002), [str(number) for number in range(5001)], data, vectors)
    assert [n.row for n in view.search(query, 10, parse_filter({"rare": True}))] == [5001]
