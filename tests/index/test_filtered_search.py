"""Filtered searches against brute force, on each store: what is found is what the filter's meaning says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from index.types import NewDocument, VectorStore
from tests.index.documents import metadata, vector_of
from tests.index.test_filters import filters, reference

# What a store that filters by its own means may trip over: numbers that no float holds, strings that
# need escaping, that sort by more than their first bytes or are long, and lists of several of these.
awkward_numbers = st.sampled_from(
    [2**53, 2**53 + 1, -(2**63), 2**63 - 1, float(2**63), 1e300, -1e-300, 0.1, -0.0, 1e15 + 0.5]
)
awkward_strings = st.sampled_from(
    ['"', "\\", "{x}", "%", "_", "a\nb", "\0", "☃", "\U0001f600", "z" * 300, "z" * 300 + "a", "ÿ", "Z"]
)
awkward = awkward_numbers | awkward_strings
values = awkward | st.lists(awkward | st.none() | st.booleans(), max_size=3)
awkward_keys = st.sampled_from(['"quoted"]', "a.b", "ключ", "kind", "k" * 128, "year"])
awkward_metadata = st.dictionaries(awkward_keys, values, max_size=4)
ranges = ["gt", "gte", "lt", "lte"]
awkward_conditions = (
    awkward
    | st.dictionaries(st.sampled_from(ranges), awkward_numbers, min_size=1, max_size=2)
    | st.dictionaries(st.sampled_from(ranges), awkward_strings, min_size=1, max_size=2)
    | st.fixed_dictionaries({"in": st.lists(awkward, min_size=1, max_size=3)})
    | st.fixed_dictionaries({"ne": awkward})
)
awkward_leaves = st.dictionaries(awkward_keys, awkward_conditions, min_size=1, max_size=2)
awkward_filters = awkward_leaves | st.fixed_dictionaries({"$not": awkward_leaves})

checked = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def store(any_store: VectorStore) -> VectorStore:
    return any_store


def assert_found_as_defined(
    store: VectorStore, held: list[dict[str, Any]], wanted: list[dict[str, Any]], k: int
) -> None:
    """Search with each filter in a collection of these documents; compare ids, order and scores."""
    store.drop("things")
    store.create("things", 8, "a-model")
    vectors = [vector_of(str(number % 5)) for number in range(len(held))]  # some are equal
    store.upsert(
        "things",
        [NewDocument(f"d{n}", vectors[n], None, None, data) for n, data in enumerate(held)],
    )
    query = vector_of("query").astype(np.float64)
    for given_filter in wanted:
        ranked = sorted(
            (-float(np.sum(vectors[n].astype(np.float64) * query)), f"d{n}")
            for n, data in enumerate(held)
            if reference(data, given_filter)
        )
        hits = store.search("things", query.astype(np.float32), k, given_filter)
        assert [hit.document.id for hit in hits] == [name for _, name in ranked[:k]], given_filter
        for hit, (negated, _) in zip(hits, ranked, strict=False):
            assert hit.score == pytest.approx(-negated, abs=1e-6)
            assert hit.document.metadata == held[int(hit.document.id[1:])]


@checked
@given(st.lists(metadata, max_size=12), st.lists(filters, min_size=1, max_size=4), st.integers(1, 14))
def test_a_filter_finds_what_brute_force_finds(
    store: VectorStore, held: list[dict[str, Any]], wanted: list[dict[str, Any]], k: int
) -> None:
    assert_found_as_defined(store, held, wanted, k)


@checked
@given(
    st.lists(awkward_metadata, max_size=12),
    st.lists(awkward_filters, min_size=1, max_size=4),
    st.integers(1, 14),
)
def test_awkward_values_are_filtered_as_any_other(
    store: VectorStore, held: list[dict[str, Any]], wanted: list[dict[str, Any]], k: int
) -> None:
    assert_found_as_defined(store, held, wanted, k)


def test_a_document_of_thousands_of_values_is_filtered_as_any_other(store: VectorStore) -> None:
    many = {f"k{number}": number for number in range(1300)} | {"tags": list(range(100, 400))}
    held: list[dict[str, Any]] = [many, {"k7": 7}, {"tags": [5, 150]}, {}]
    wanted: list[dict[str, Any]] = [
        {"k7": 7},
        {"k7": {"ne": 7}},
        {"tags": 150},
        {"tags": {"gt": 398}},
        {"k1299": {"exists": False}},
        {"$not": {"tags": {"lt": 100}}},
    ]
    assert_found_as_defined(store, held, wanted, 10)


def test_a_filter_may_choose_among_a_thousand_values(store: VectorStore) -> None:
    held: list[dict[str, Any]] = [{"n": number} for number in range(60)]
    chosen = {"n": {"in": [*range(1000, 1980), *range(0, 60, 3)]}}
    assert_found_as_defined(store, held, [chosen, {"$not": chosen}], 100)
