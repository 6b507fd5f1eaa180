"""The distinct values that documents hold under one metadata key, coded, and conditions decided on them."""

from __future__ import annotations

import math
from array import array
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from index.filters import Exists, OneOf, Within

UNKNOWN = 0  # the document has not been read
ABSENT = 1  # the document does not have the key
_FIRST = 2

_EXACT = 2**53  # up to here a float64 is any whole number exactly
_REMEMBERED = 8  # conditions whose tables are kept
_BYTES_A_VALUE = 150  # an entry of the dictionary, of the list, and a short string, roughly

Leaf = OneOf | Within | Exists
Table = npt.NDArray[np.bool_]


class Values:
    """Codes of values as JSON has them: 1 and 1.0 share one, true has its own. Codes are only added.

    One thread at a time may add; any number may ask for tables meanwhile.
    """

    def __init__(self, key: str) -> None:
        """Begin without values of a metadata key."""
        self._key = key
        self._values: list[Any] = [None] * _FIRST
        self._code_of: dict[Any, int] = {}
        self._numbers = array("d", [math.nan] * _FIRST)  # NaN: not a number, or decided one by one
        self._single: list[int] = []  # codes of lists, and of whole numbers beyond float64
        self._text_bytes = 0
        self._tables: OrderedDict[Leaf, Table] = OrderedDict()

    @property
    def bytes(self) -> int:
        """Memory taken, roughly."""
        return _BYTES_A_VALUE * len(self._values) + self._text_bytes

    @property
    def count(self) -> int:
        """How many distinct values there are."""
        return len(self._values) - _FIRST

    def code(self, value: Any) -> int:
        """The code of a value, which is a scalar or a list of scalars."""
        identity = _identity(value)
        known = self._code_of.get(identity)
        if known is not None:
            return known
        code = len(self._values)
        is_number = type(value) in (int, float)
        if type(value) is list or (is_number and abs(value) > _EXACT):
            self._single.append(code)
            is_number = False
        if isinstance(value, str | list):
            self._text_bytes += len(value) if isinstance(value, str) else 64 * len(value)
        self._numbers.append(float(value) if is_number else math.nan)
        self._code_of[identity] = code
        self._values.append(value)  # last, because tables are made for the codes that it counts
        return code

    def table(self, leaf: Leaf) -> Table:
        """Whether a document with a value meets a condition on this key, by the value's code."""
        count = len(self._values)
        table = self._tables.get(leaf)
        if table is None or len(table) < count:
            before = np.zeros(_FIRST, np.bool_) if table is None else table
            table = np.concatenate([before, self._decide(leaf, len(before), count)])
            self._tables[leaf] = table
            while len(self._tables) > _REMEMBERED:
                self._tables.popitem(last=False)
        return table

    def _decide(self, leaf: Leaf, start: int, stop: int) -> Table:
        """The part of a table for the codes from `start` to before `stop`."""
        if isinstance(leaf, Exists):
            return np.ones(stop - start, np.bool_)
        if isinstance(leaf, OneOf):
            decided = np.zeros(stop - start, np.bool_)
            found = (self._code_of.get(_identity(value)) for _, value in leaf.choices)
            for code in found:
                if code is not None and start <= code < stop:
                    decided[code - start] = True
        elif all(type(limit) is not str for _, limit in leaf.bounds):
            decided = self._numbers_within(leaf, start, stop)
        else:
            return self._one_by_one(leaf, range(start, stop))
        single = [code for code in self._single if start <= code < stop]
        decided[np.asarray(single, np.int64) - start] = self._one_by_one(leaf, single)
        return decided

    def _numbers_within(self, leaf: Within, start: int, stop: int) -> Table:
        if any(abs(limit) > _EXACT for _, limit in leaf.bounds):
            return self._one_by_one(leaf, range(start, stop))
        numbers = np.array(self._numbers[start:stop])
        decided = ~np.isnan(numbers)
        compare = {"gt": np.greater, "gte": np.greater_equal, "lt": np.less, "lte": np.less_equal}
        for operator, limit in leaf.bounds:
            decided &= compare[operator](numbers, float(limit))
        return decided

    def _one_by_one(self, leaf: Leaf, codes: Iterable[int]) -> Table:
        values = self._values
        return np.array([leaf.matches({self._key: values[code]}) for code in codes], np.bool_)


def _identity(value: Any) -> Any:
    """What equal values have in common, and no others: Python takes True for 1, JSON does not."""
    if type(value) is list:
        return ("list", *map(_identity, value))
    return ("boolean", value) if type(value) is bool else value
