"""How often and how long a call is tried again: as the server says, else with a growing, bounded pause."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from service.client.errors import ServerProblem, Unreachable

_BUSY = frozenset({429, 502, 503})


@dataclass(frozen=True, slots=True)
class Patience:
    """For `seconds` altogether, pauses growing from `first` to `most` seconds where the server names none.

    `tell` hears of each error that is waited out, before the pause.
    """

    seconds: float = 60.0
    first: float = 0.5
    most: float = 8.0
    tell: Callable[[ServerProblem | Unreachable], None] | None = None

    def begin(self) -> Attempts:
        """The attempts at one call."""
        return Attempts(self)


NONE = Patience(seconds=0.0)


class Attempts:
    """Counts the attempts at one call."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._given_up = time.monotonic() + patience.seconds
        self._pause = patience.first

    def pause_after(self, error: ServerProblem | Unreachable, *, repeatable: bool) -> float:
        """Seconds to wait before the next attempt.

        Raises `error` where another attempt would not help, could do harm, or would come too late.
        """
        if isinstance(error, ServerProblem):
            worth_it, told = error.status in _BUSY, error.retry_after
        else:
            worth_it, told = repeatable or not error.sent, None
        pause = self._next() if told is None else told
        if not worth_it or time.monotonic() + pause > self._given_up:
            raise error
        if self._patience.tell is not None:
            self._patience.tell(error)
        return pause

    def _next(self) -> float:
        pause, self._pause = self._pause, min(2 * self._pause, self._patience.most)
        return pause * random.uniform(
            0.5, 1.0
        )  # so that clients that were turned away together do not return so
