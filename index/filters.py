"""Metadata filters: what a request may ask of a document's metadata, parsed, checked and evaluated.

A filter is a JSON object. Each name in it is a metadata key, and all of them must hold:

    {"kind": "emoji"}                                   equal
    {"year": {"gte": 1990, "lt": 2000}}                 a range, of numbers or of strings
    {"kind": {"in": ["emoji", "photo"]}}                one of these
    {"kind": {"ne": "photo"}}                           anything else, also nothing at all
    {"kind": {"exists": true}}                          present (false: absent)
    {"$or": [{"kind": "emoji"}, {"$not": {"year": 1990}}]}      $and, $or take a list, $not a filter

Values are typed: true is not 1, "1" is not 1, while 1 and 1.0 are one number. A range compares numbers
with numbers and strings with strings, and never matches a value of another kind. Where a document's
value is a list, a condition holds if any element meets it; `ne` holds if none is equal. A key that is
missing matches only `ne`, `"exists": false` and a `$not` of what it fails.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from index.types import InvalidInput, Scalar
from index.validation import check_text

MAX_DEPTH = 16
MAX_CONDITIONS = 256
MAX_CHOICES = 1000

_RANGE_OPERATORS = ("gt", "gte", "lt", "lte")
_OPERATORS = ("eq", "ne", "in", "exists", *_RANGE_OPERATORS)
_COMBINATORS = ("$and", "$or", "$not")

_KINDS = {str: "string", bool: "boolean", int: "number", float: "number", type(None): "null"}
_ABSENT = object()  # null is a value that a document may hold

TypedValue = tuple[str, Scalar]


class Filter(Protocol):
    """A condition on a document's metadata."""

    def matches(self, metadata: Mapping[str, Any]) -> bool:
        """Whether a document with this metadata passes."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """The value, or an element of it, is one of `choices`."""

    key: str
    choices: frozenset[TypedValue]

    def matches(self, metadata: Mapping[str, Any]) -> bool:
        """Whether a document with this metadata passes."""
        value = metadata.get(self.key, _ABSENT)
        if type(value) is list:
            return any(_typed(element) in self.choices for element in value)
        return _typed(value) in self.choices  # what is absent has no kind, so it is in none


@dataclass(frozen=True, slots=True)
class Within:
    """The value, or an element of it, lies within all `bounds`: operator and limit, limits of one type."""

    key: str
    bounds: tuple[tuple[str, Any], ...]

    def matches(self, metadata: Mapping[str, Any]) -> bool:
        """Whether a document with this metadata passes."""
        return any(self._holds(value) for value in _values(metadata, self.key))

    def _holds(self, value: Any) -> bool:
        kind = _kind(value)
        return all(
            kind == _kind(limit) and _compare(operator, value, limit) for operator, limit in self.bounds
        )


@dataclass(frozen=True, slots=True)
class Exists:
    """The key is present, be its value null."""

    key: str

    def matches(self, metadata: Mapping[str, Any]) -> bool:
        """Whether a document with this metadata passes."""
        return self.key in metadata


@dataclass(frozen=True, slots=True)
class Every:
    """All parts hold."""

    parts: tuple[Filter, ...]

    def matches(self, metadata: Mapping[str, Any]) -> bool:
        """Whether a document with this metadata passes."""
        return all(part.matches(metadata) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Either:
    """At least one part holds."""

    parts: tuple[Filter, ...]

    def matches(self, metadata: Mapping[str, Any]) -> bool:
        """Whether a document with this metadata passes."""
        return any(part.matches(metadata) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Negation:
    """The part does not hold."""

    part: Filter

    def matches(self, metadata: Mapping[str, Any]) -> bool:
        """Whether a document with this metadata passes."""
        return not self.part.matches(metadata)


def parse_filter(given: Mapping[str, Any]) -> Filter:
    """Check a filter as it came from a request and return what it means.

    Raises `InvalidInput` whose field says where, such as `filter.year.gte` or `filter.$or[1].kind`.
    """
    return _Parser().filter(given, "filter", depth=1)


class _Parser:
    """One parse; counts conditions, so that a small request cannot ask for unbounded work."""

    def __init__(self) -> None:
        self._conditions = 0

    def filter(self, given: Any, path: str, depth: int) -> Filter:
        if depth > MAX_DEPTH:
            raise InvalidInput(path, f"The filter is nested more than {MAX_DEPTH} deep.", "Flatten it.")
        if not isinstance(given, Mapping):
            raise InvalidInput(path, f"{path} must be an object.", 'Send {"kind": "emoji"}, for one.')
        if not given:
            raise InvalidInput(path, f"{path} is empty.", "Name a metadata key, or leave the filter out.")
        return _joined([self._entry(key, value, path, depth) for key, value in given.items()])

    def _entry(self, key: Any, value: Any, path: str, depth: int) -> Filter:
        if not isinstance(key, str) or not key:
            raise InvalidInput(
                path, f"{path} has a name that is not a metadata key.", "Use a non-empty string."
            )
        check_text(key, path)
        where = f"{path}.{key}"
        if key.startswith("$"):
            return self._combination(key, value, where, depth)
        return self._condition(key, value, where)

    def _combination(self, key: str, value: Any, path: str, depth: int) -> Filter:
        if key == "$not":
            return Negation(self.filter(value, path, depth + 1))
        if key not in _COMBINATORS:
            raise InvalidInput(path, f"{path} is not known.", f"Use one of {', '.join(_COMBINATORS)}.")
        if not isinstance(value, list | tuple) or not value:
            raise InvalidInput(
                path, f"{path} must be a list of at least one filter.", 'Send [{"kind": "emoji"}], for one.'
            )
        parts = tuple(
            self.filter(part, f"{path}[{position}]", depth + 1) for position, part in enumerate(value)
        )
        return Every(parts) if key == "$and" else Either(parts)

    def _condition(self, key: str, value: Any, path: str) -> Filter:
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            raise InvalidInput(
                path, f"The filter has more than {MAX_CONDITIONS} conditions.", "Use fewer, or `in`."
            )
        if not isinstance(value, Mapping):
            return OneOf(key, frozenset([_checked(value, path)]))
        if not value:
            raise InvalidInput(path, f"{path} is empty.", f"Use one of {', '.join(_OPERATORS)}.")
        for operator in value:
            if operator not in _OPERATORS:
                raise InvalidInput(
                    f"{path}.{operator}",
                    f"{path}.{operator} is not known.",
                    f"Use one of {', '.join(_OPERATORS)}.",
                )
        parts = [_operation(key, name, value[name], path) for name in value if name not in _RANGE_OPERATORS]
        bounds = tuple((name, value[name]) for name in value if name in _RANGE_OPERATORS)
        if bounds:
            parts.append(_range(key, bounds, path))
        return _joined(parts)


def _operation(key: str, operator: str, operand: Any, path: str) -> Filter:
    where = f"{path}.{operator}"
    match operator:
        case "eq":
            return OneOf(key, frozenset([_checked(operand, where)]))
        case "ne":
            return Negation(OneOf(key, frozenset([_checked(operand, where)])))
        case "in":
            return OneOf(key, _choices(operand, where))
        case _:
            if not isinstance(operand, bool):
                raise InvalidInput(where, f"{where} must be true or false.", "Send true or false.")
            return Exists(key) if operand else Negation(Exists(key))


def _choices(operand: Any, path: str) -> frozenset[TypedValue]:
    if not isinstance(operand, list | tuple) or not 1 <= len(operand) <= MAX_CHOICES:
        raise InvalidInput(
            path, f"{path} must be a list of 1 to {MAX_CHOICES} values.", 'Send ["emoji"], for one.'
        )
    return frozenset(_checked(choice, f"{path}[{position}]") for position, choice in enumerate(operand))


def _range(key: str, bounds: tuple[tuple[str, Any], ...], path: str) -> Filter:
    for operator, limit in bounds:
        where = f"{path}.{operator}"
        if _checked(limit, where)[0] not in ("number", "string"):
            raise InvalidInput(where, f"{where} must be a number or a string.", "Send one of these.")
        if _kind(limit) != _kind(bounds[0][1]):
            raise InvalidInput(
                where,
                f"{where} must be a {_kind(bounds[0][1])}, like {path}.{bounds[0][0]}.",
                "Send two of a kind.",
            )
    return Within(key, bounds)


def _checked(value: Any, path: str) -> TypedValue:
    """Return a filter's value with its kind, or refuse it."""
    if isinstance(value, list | tuple):
        raise InvalidInput(path, f"{path} is a list.", 'Write {"in": [...]} to match any of its values.')
    if _kind(value) == "other":
        raise InvalidInput(
            path, f"{path} must be a string, number, true, false or null.", "Send one of these."
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidInput(path, f"{path} must be a finite number.", "Send a finite number.")
    if isinstance(value, str):
        check_text(value, path)
    return _typed(value)


def _joined(parts: list[Filter]) -> Filter:
    return parts[0] if len(parts) == 1 else Every(tuple(parts))


def _values(metadata: Mapping[str, Any], key: str) -> list[Any] | tuple[Any, ...]:
    """Return a document's values under a key: none, one, or a list's elements."""
    value = metadata.get(key, _ABSENT)
    if value is _ABSENT:
        return ()
    return value if type(value) is list else (value,)


def _typed(value: Any) -> TypedValue:
    return _kind(value), value


def _kind(value: Any) -> str:
    # By exact type: Python counts True among the integers, JSON does not.
    return _KINDS.get(type(value), "other")


def _compare(operator: str, value: Any, limit: Any) -> bool:
    match operator:
        case "gt":
            return bool(value > limit)
        case "gte":
            return bool(value >= limit)
        case "lt":
            return bool(value < limit)
        case _:
            return bool(value <= limit)
