from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.filters import MAX_CHOICES, MAX_CONDITIONS, MAX_DEPTH, parse_filter
from index.types import InvalidInput
from tests.index.documents import metadata, scalars

keys = st.sampled_from(["kind", "year", "tags", "absent"])
numbers = st.integers(-3, 3) | st.sampled_from([-1.5, 0.0, 1.0, 2.5])
strings = st.sampled_from(["", "a", "b", "1"])


def ranges(limits: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), limits, min_size=1)


conditions = (
    scalars
    | ranges(numbers)
    | ranges(strings)
    | st.fixed_dictionaries({"eq": scalars})
    | st.fixed_dictionaries({"ne": scalars})
    | st.fixed_dictionaries({"in": st.lists(scalars, min_size=1, max_size=3)})
    | st.fixed_dictionaries({"exists": st.booleans()})
    | st.fixed_dictionaries({"ne": scalars, "gte": numbers, "exists": st.booleans()})
)
leaves = st.dictionaries(keys, conditions, min_size=1, max_size=2)
filters = st.recursive(
    leaves,
    lambda inner: (
        st.fixed_dictionaries({"$and": st.lists(inner, min_size=1, max_size=3)})
        | st.fixed_dictionaries({"$or": st.lists(inner, min_size=1, max_size=3)})
        | st.fixed_dictionaries({"$not": inner})
    ),
    max_leaves=6,
)


def json_type(value: Any) -> str:
    if value is None:
        return "null"
    return {bool: "boolean", int: "number", float: "number", str: "string"}[type(value)]


def same(one: Any, other: Any) -> bool:
    return json_type(one) == json_type(other) and one == other


def in_range(value: Any, bounds: dict[str, Any]) -> bool:
    limit_type = json_type(next(iter(bounds.values())))
    if json_type(value) != limit_type:
        return False
    order = {
        "gt": lambda a, b: a > b,
        "gte": lambda a, b: a >= b,
        "lt": lambda a, b: a < b,
        "lte": lambda a, b: a <= b,
    }
    return all(order[name](value, limit) for name, limit in bounds.items())


def condition_holds(present: bool, values: list[Any], condition: Any) -> bool:
    if not isinstance(condition, dict):
        return any(same(value, condition) for value in values)
    verdicts = []
    bounds = {name: limit for name, limit in condition.items() if name[:2] in ("gt", "lt")}
    if bounds:
        verdicts.append(any(in_range(value, bounds) for value in values))
    if "eq" in condition:
        verdicts.append(any(same(value, condition["eq"]) for value in values))
    if "ne" in condition:
        verdicts.append(not any(same(value, condition["ne"]) for value in values))
    if "in" in condition:
        verdicts.append(any(same(value, choice) for value in values for choice in condition["in"]))
    if "exists" in condition:
        verdicts.append(present == condition["exists"])
    return all(verdicts)


def reference(document: dict[str, Any], given: dict[str, Any]) -> bool:
    """The documented meaning, written a second time without the parser's classes."""
    verdicts = []
    for key, value in given.items():
        if key == "$and":
            verdicts.append(all(reference(document, part) for part in value))
        elif key == "$or":
            verdicts.append(any(reference(document, part) for part in value))
        elif key == "$not":
            verdicts.append(not reference(document, value))
        else:
            held = document.get(key, [])
            values = held if isinstance(held, list) else [held]
            verdicts.append(condition_holds(key in document, values, value))
    return all(verdicts)


@given(filters, st.lists(metadata, max_size=8))
def test_a_filter_means_what_its_definition_says(given_filter: Any, documents: Any) -> None:
    parsed = parse_filter(given_filter)
    for held in documents:
        assert parsed.matches(held) is reference(held, given_filter), held


@pytest.mark.parametrize(
    ("given_filter", "held", "passes"),
    [
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": True}, {"a": 1}, False),
        ({"a": 1}, {"a": "1"}, False),
        ({"a": None}, {"a": None}, True),
        ({"a": None}, {}, False),
        ({"a": {"ne": 1}}, {}, True),
        ({"a": {"ne": 1}}, {"a": [1, 2]}, False),
        ({"a": {"gte": 0}}, {"a": True}, False),
        ({"a": {"gte": 0}}, {"a": "5"}, False),
        ({"a": {"gt": 1, "lt": 5}}, {"a": [0, 9]}, False),  # no single element lies within
        ({"a": {"gt": 1, "lt": 5}}, {"a": [0, 3]}, True),
        ({"a": {"gte": "b"}}, {"a": "c"}, True),
        ({"a": {"exists": True}}, {"a": []}, True),
        ({"a": {"exists": False}}, {"b": 1}, True),
        ({"$not": {"a": {"gt": 1}}}, {}, True),
        ({"gt": 1}, {"gt": 1}, True),  # operators' names are fine as metadata keys
        ({"a": 2**63 - 1}, {"a": float(2**63)}, False),
    ],
)
def test_examples(given_filter: Any, held: Any, passes: bool) -> None:
    assert parse_filter(given_filter).matches(held) is passes


@pytest.mark.parametrize(
    ("given_filter", "field"),
    [
        ([], "filter"),
        ("kind", "filter"),
        ({}, "filter"),
        ({"": 1}, "filter"),
        ({1: 1}, "filter"),
        ({"year": {}}, "filter.year"),
        ({"year": {"gte": None}}, "filter.year.gte"),
        ({"year": {"gte": True}}, "filter.year.gte"),
        ({"year": {"gte": [1]}}, "filter.year.gte"),
        ({"year": {"gte": 1, "lt": "2"}}, "filter.year.lt"),
        ({"year": {"gte": float("nan")}}, "filter.year.gte"),
        ({"year": float("inf")}, "filter.year"),
        ({"year": {"above": 1}}, "filter.year.above"),
        ({"tags": ["a"]}, "filter.tags"),
        ({"tags": {"in": "a"}}, "filter.tags.in"),
        ({"tags": {"in": []}}, "filter.tags.in"),
        ({"tags": {"in": [1, {}]}}, "filter.tags.in[1]"),
        ({"tags": {"in": [1] * (MAX_CHOICES + 1)}}, "filter.tags.in"),
        ({"tags": {"exists": 1}}, "filter.tags.exists"),
        ({"$nor": []}, "filter.$nor"),
        ({"$and": []}, "filter.$and"),
        ({"$and": {"a": 1}}, "filter.$and"),
        ({"$or": [{"a": 1}, {"year": {"gte": []}}]}, "filter.$or[1].year.gte"),
        ({"$or": [1]}, "filter.$or[0]"),
        ({"$not": {"a": {"in": 3}}}, "filter.$not.a.in"),
        ({"a": "\ud800"}, "filter.a"),
        ({"a": {"lt": "\ud800"}}, "filter.a.lt"),
        ({"\ud800": 1}, "filter"),
    ],
)
def test_a_malformed_filter_names_the_part_at_fault(given_filter: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_filter(given_filter)
    assert caught.value.field == field


def test_a_filter_is_bounded_in_depth_and_size() -> None:
    deep: dict[str, Any] = {"a": 1}
    for _ in range(MAX_DEPTH):
        deep = {"$not": deep}
    with pytest.raises(InvalidInput, match="deep"):
        parse_filter(deep)
    parse_filter(deep["$not"])
    with pytest.raises(InvalidInput, match="conditions"):
        parse_filter({"$or": [{"a": 1}] * (MAX_CONDITIONS + 1)})
