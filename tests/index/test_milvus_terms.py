"""What rows carry for filters in Milvus, and what the expressions let through."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.filters import parse_filter
from index.milvus.schema import alias_of, name_of
from index.milvus.store import MilvusStore
from index.milvus.terms import MAX_TERMS, expression_of, terms_of
from tests.index.documents import document
from tests.index.test_filters import reference

DECIDED: list[dict[str, Any]] = [
    {},
    {"year": 1990},
    {"year": 1990.5, "kind": "a"},
    {"year": "1990", "kind": ["a", "b"]},
    {"year": True, "kind": "b"},
    {"year": None, "kind": []},
    {"year": [2001], "kind": ["c", None, 3]},
]


@pytest.mark.parametrize(
    "given_filter",
    [
        {"year": 1990},
        {"year": {"ne": 1990}},
        {"year": {"gte": 1990, "lt": 2000}},
        {"year": {"gt": "19"}},
        {"kind": {"in": ["a", 3]}},
        {"kind": {"exists": False}},
        {"$not": {"year": {"lt": 2000.5}}},
        {"$or": [{"kind": "b"}, {"$not": {"kind": {"exists": True}}}], "year": {"ne": None}},
    ],
)
def test_milvus_itself_decides_what_it_can(milvus_store: MilvusStore, given_filter: dict[str, Any]) -> None:
    milvus_store.upsert("things", [document(f"d{n}", **data) for n, data in enumerate(DECIDED)])
    expression = expression_of(parse_filter(given_filter))
    rows = milvus_store._collection("things")._query(["document"], filter=expression)
    passing = [f"d{n}" for n, data in enumerate(DECIDED) if reference(data, given_filter)]
    assert 0 < len(passing) < len(DECIDED)
    assert sorted(row["document"].split('"')[3] for row in rows) == passing


def test_one_number_is_one_term_and_types_are_apart() -> None:
    assert terms_of({"a": 1}) == terms_of({"a": 1.0})
    different = [terms_of({"a": value})[0] for value in (1, True, "1", "True", None, "None", 1.5)]
    assert len({tuple(terms) for terms in different}) == len(different)
    assert not set(terms_of({"ab": "c"})[0]) & set(terms_of({"a": "bc"})[0])


def test_more_terms_than_an_array_holds_become_one_that_lets_through() -> None:
    terms, _ = terms_of({"tags": list(range(MAX_TERMS))})
    assert len(terms) == 1
    assert str(terms[0]) in expression_of(parse_filter({"tags": 1}))
    wide = {f"k{number}": 1e15 + number for number in range(1300)}
    assert terms_of(wide) == ([terms[0]], {})


@given(st.from_regex(r"[a-z0-9][a-z0-9_-]{0,63}", fullmatch=True))
def test_a_name_and_its_alias_determine_each_other(name: str) -> None:
    alias = alias_of(name)
    assert name_of(alias) == name
    assert alias.replace("_", "a").isalnum()
    assert len(alias) <= 255


def test_an_alias_of_someone_else_names_nothing() -> None:
    assert name_of("their_collection") is None
