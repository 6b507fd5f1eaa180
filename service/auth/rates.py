"""How often a key may call: a token bucket on the monotonic clock.

The libraries that were looked at measure windows on the wall clock, so that a clock that is set back locks
a key out; and none of them says when the next call may come, which Retry-After needs.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

Clock = Callable[[], float]

_PERIODS = {"second": 1.0, "minute": 60.0, "hour": 3600.0}
_FORM = re.compile(r"([1-9][0-9]{0,8})/(second|minute|hour)")


@dataclass(frozen=True, slots=True)
class Rate:
    """`calls` in `seconds` on average; a key that was idle may make all of them at once."""

    calls: int
    seconds: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """A rate as it is configured, such as 600/minute. Raises `ValueError`."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueError(f"rate={text[:40]} is not a number a second, minute or hour, such as 600/minute")
        return cls(int(match[1]), _PERIODS[match[2]])


class TokenBucket:
    """The calls that one key has left."""

    def __init__(self, rate: Rate, clock: Clock = time.monotonic) -> None:
        self.rate = rate
        self._clock = clock
        self._left = float(rate.calls)
        self._filled = clock()

    def take(self) -> float:
        """Take one call: 0.0 if it may pass, else the seconds until one may."""
        now = self._clock()
        per_second = self.rate.calls / self.rate.seconds
        self._left = min(float(self.rate.calls), self._left + (now - self._filled) * per_second)
        self._filled = now
        if self._left >= 1.0:
            self._left -= 1.0
            return 0.0
        return (1.0 - self._left) / per_second
