"""Metadata filters in Milvus: what a row carries for them, and the expression that a filter becomes.

Milvus can filter on JSON, but what its expressions say of missing keys, nulls, mixed types and lists
differs between its versions and from `index.filters`. So a row carries two fields of its own making:

- `terms`, numbers in an array: a 64-bit hash for each key that is present and for each value under a
  key, with its type. Equality, sets, `ne`, `exists` and `$not` become `array_contains`, which is never
  null and means the same everywhere.
- `scalars`, a JSON object: for each key the one number among its values as a float, and the one string
  as the hexadecimal of its UTF-8, whose order is the string's. A comparison stands behind a term that
  says that there is such a scalar, so that no row without one is ever compared.

What a range cannot decide that way (several numbers in a list, a whole number beyond 2^53, a long
string) carries a term that lets the row through, and so does a document of more terms than fit. The
rows that Milvus returns are checked with `Filter.matches`, so an expression may let too many rows
through and never too few.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np

from index.filters import Either, Every, Exists, Filter, Negation, OneOf, Within

MAX_TERMS = 4096  # Milvus's largest capacity of an array
MAX_SCALARS_BYTES = 60_000  # Milvus takes JSON of up to 65,536
TERMS = "terms"
SCALARS = "scalars"

_MAX_STRING_BYTES = 256
_EXACT = 2**53  # whole numbers below it are exact as floats
_SIGNS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def terms_of(metadata: Mapping[str, Any]) -> tuple[list[int], dict[str, float | str]]:
    """The `terms` and `scalars` of a document's metadata."""
    terms: set[int] = set()
    scalars: dict[str, float | str] = {}
    for key, held in metadata.items():
        values = held if isinstance(held, list | tuple) else [held]
        terms.add(_exists_term(key))
        terms.update(_value_term(key, _typed(value)) for value in values)
        for kind, candidates in (
            ("number", [value for value in values if type(value) in (int, float)]),
            ("string", [value for value in values if type(value) is str]),
        ):
            if not candidates:
                continue
            scalar = _scalar(candidates[0]) if len(candidates) == 1 else None
            if scalar is None:
                terms.add(_undecided_term(key, kind))
            else:
                terms.add(_scalar_term(key, kind))
                scalars[_scalar_name(key, kind)] = scalar
    if len(terms) > MAX_TERMS or len(json.dumps(scalars)) > MAX_SCALARS_BYTES:
        return [_OVERFLOW], {}
    return sorted(terms), scalars


def expression_of(condition: Filter) -> str:
    """A Milvus expression that holds for every row whose metadata passes, and for few others."""
    let_through = {_OVERFLOW}
    decided = _expression(condition, let_through)
    return f"({decided}) or {_contains_any(let_through)}"


def _expression(condition: Filter, let_through: set[int]) -> str:
    """The expression for the rows that it can decide; the terms of others are added to `let_through`."""
    match condition:
        case OneOf(key, choices):
            return _contains_any({_value_term(key, choice) for choice in choices})
        case Exists(key):
            return _contains_any({_exists_term(key)})
        case Within(key, bounds):
            kind = "string" if isinstance(bounds[0][1], str) else "number"
            let_through.add(_undecided_term(key, kind))
            name = _scalar_name(key, kind)
            parts = [f'{SCALARS}["{name}"] {_SIGNS[sign]} {_limit(limit)}' for sign, limit in bounds]
            return " and ".join([_contains_any({_scalar_term(key, kind)}), *parts])
        case Every(parts=conditions):
            return " and ".join(f"({_expression(part, let_through)})" for part in conditions)
        case Either(parts=conditions):
            return " or ".join(f"({_expression(part, let_through)})" for part in conditions)
        case Negation(part):
            return f"not ({_expression(part, let_through)})"
    raise TypeError(f"a filter of an unknown kind: {type(condition).__name__}")


def _contains_any(terms: set[int]) -> str:
    if len(terms) == 1:
        return f"array_contains({TERMS}, {next(iter(terms))})"
    return f"array_contains_any({TERMS}, {sorted(terms)})"


def _scalar(value: Any) -> float | str | None:
    """A number or string as it is compared in Milvus; None if it has to be compared here."""
    if isinstance(value, str):
        encoded = value.encode()
        return encoded.hex() if len(encoded) <= _MAX_STRING_BYTES else None
    return float(value) if -_EXACT < value < _EXACT else None


def _limit(limit: Any) -> str:
    if isinstance(limit, str):
        return f'"{limit.encode().hex()}"'
    # No scalar lies beyond these ends, so a limit there decides the same. No exponent: grammars differ.
    within = float(max(-_EXACT, min(_EXACT, limit)))
    return np.format_float_positional(within, trim="0")


def _typed(value: Any) -> tuple[str, Any]:
    if value is None:
        return "null", None
    return {str: "string", bool: "boolean", int: "number", float: "number"}[type(value)], value


def _value_term(key: str, typed: tuple[str, Any]) -> int:
    kind, value = typed
    if type(value) is float and value.is_integer():
        value = int(value)  # 1 and 1.0 are one number
    return _term("value", key, kind, str(value))


def _exists_term(key: str) -> int:
    return _term("exists", key)


def _scalar_term(key: str, kind: str) -> int:
    return _term("scalar", key, kind)


def _undecided_term(key: str, kind: str) -> int:
    return _term("undecided", key, kind)


def _scalar_name(key: str, kind: str) -> str:
    return kind[0] + blake2b(key.encode(), digest_size=12).hexdigest()


def _term(*parts: str) -> int:
    """A hash of 63 bits, as Milvus's integers are signed and its grammar reads minus as an operator."""
    lengths = ",".join(str(len(part)) for part in parts)
    digest = blake2b("".join((lengths, *parts)).encode(), digest_size=8, person=b"solomon-terms").digest()
    return int.from_bytes(digest, "little") >> 1


_OVERFLOW = _term("overflow")
