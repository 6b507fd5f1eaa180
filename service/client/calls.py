"""A call of the API as a value, and work of several calls as a generator: neither knows a network."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One call: what is sent, and how the JSON of its answer is read, or its bytes where it is `raw`.

    `repeatable`: a second time does no harm, so it is tried again even where the first may have arrived.
    """

    method: str
    path: str
    read: Callable[[Any], T]
    body: Mapping[str, Any] | None = None
    repeatable: bool = True
    raw: bool = False


Steps = Generator[Call[Any], Any, T]
"""Work of several calls: yields each, and is sent what its `read` returned or thrown a `ServerProblem`."""


def one(call: Call[T]) -> Steps[T]:
    """Work of a single call."""
    answer: T = yield call
    return answer
