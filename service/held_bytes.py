"""How many bytes from outside the server holds in memory, over all calls: bodies, and images it fetched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from service import problems
from service.mapping import retry_after
from service.problems import Problem

_RETRY_SECONDS = 1.0


class HeldBytes:
    """The bytes of all calls that have not ended. For one thread: the event loop's."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = 0

    def check(self, size: int) -> None:
        """Raise a `Problem` (429) if `size` more bytes do not fit."""
        if self.held + size > self._limit:
            detail = "The server holds as many bytes of other calls as it may. Send it again later."
            raise Problem(problems.BODIES_FULL, detail, headers=retry_after(_RETRY_SECONDS))

    @contextmanager
    def during_call(self) -> Iterator[CallBytes]:
        """A call's share, which `hold` adds to meanwhile and which is given back at the end."""
        call = CallBytes(self)
        token = _CURRENT.set(call)
        try:
            yield call
        finally:
            _CURRENT.reset(token)
            self.held -= call.held


class CallBytes:
    """What one call holds."""

    def __init__(self, total: HeldBytes) -> None:
        self._total = total
        self.held = 0

    def add(self, size: int) -> None:
        """Take `size` bytes. Raises a `Problem` (429) if they do not fit."""
        self._total.check(size)
        self.held += size
        self._total.held += size


_CURRENT: ContextVar[CallBytes | None] = ContextVar("solomon_call_bytes", default=None)


def hold(size: int) -> None:
    """Count bytes that came in for the call under way. Raises a `Problem` (429) if they do not fit."""
    call = _CURRENT.get()
    if call is not None:
        call.add(size)
