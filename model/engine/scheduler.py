"""Who runs next: the bounded queue, and the choice of each prefill batch."""

from __future__ import annotations

import bisect
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from model.engine.request import Request
from model.engine.settings import EngineSettings
from model.errors import EngineStopped, QueueFull
from model.types import RouteChoice

BACKGROUND_SECONDS = 1.0  # at most, while there is any: without it a stream of queries would starve documents
_FREE_PADDING = 128  # padding tokens that are never worth a second batch
_RETRY_BOUNDS = (0.1, 60.0)  # seconds
_LATEST_SHARE = 0.2  # of a moving mean
_ENOUGH_LEFT = 4  # requests that left the queue, to tell a pace by


@dataclass(frozen=True, slots=True)
class Room:
    """What can be taken in: how many more augmentations, by free KV slots and parking places behind them.

    `long`: whether a prompt may be begun that takes more than one step; there is one of these at a time.
    `pads`: whether a batch costs its longest prompt's tokens for each of its prompts, or only what they have.
    """

    slots: int
    parking: int
    long: bool = True
    pads: bool = True


class Scheduler:
    """The queue, ordered by priority and then by arrival; callers' threads put, the engine's takes."""

    def __init__(self, settings: EngineSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._changed = threading.Condition()
        self._queue: list[Request] = []
        self._closed = False
        self._background_ran = -math.inf  # when the last of it ended
        self._background_runs = False
        self._left: deque[_Left] = deque(maxlen=256)
        self._computing: dict[RouteChoice | None, float] = {}  # seconds after the queue, lately

    @property
    def depth(self) -> int:
        """Requests that wait."""
        return len(self._queue)

    @property
    def closed(self) -> bool:
        """Whether nothing more is accepted."""
        return self._closed

    def submit(self, request: Request) -> None:
        """Queue a request. Raises `QueueFull`, or `EngineStopped` after `close`."""
        with self._changed:
            if self._closed:
                raise EngineStopped("The engine has been closed; start a new one.")
            if len(self._queue) >= self._settings.max_queue:
                raise QueueFull(self._retry_after())
            bisect.insort_right(self._queue, request, key=lambda waiting: waiting.priority)
            self._changed.notify()

    def expected_seconds(self, priority: int, choice: RouteChoice | None) -> float:
        """Seconds until a new request would be answered, as it went since some had to wait; 0 if none has to.

        It stands behind those of its own priority; but queries that may be augmented wait for a slot, which
        one that cannot be (`choice` is embed, or None for a document) need not, nor one that need not be
        forced ones. The pace is that of the same kinds. Never more than until the last of them gives up.
        """

        def counts(one: Request | _Left) -> bool:
            return one.priority == priority and not _is_overtaken(one, choice)

        with self._changed:
            ahead = [waiting for waiting in self._queue if counts(waiting)]
            computing = self._computing.get(choice, 0.0)
            return self._wait_behind(ahead, counts) + computing if ahead else 0.0

    def ended(self, request: Request, seconds: float) -> None:
        """A request that ran was answered, or ran into its deadline, so long after it left the queue."""
        choice = request.choice if request.is_query else None
        before = self._computing.get(choice, seconds)
        self._computing[choice] = before + _LATEST_SHARE * (seconds - before)

    def wait(self, busy: bool) -> bool:
        """Block until there is something to do; False once closed. `busy`: do not wait for the queue."""
        with self._changed:
            while not (self._queue or busy or self._closed):
                self._changed.wait()
            return not self._closed

    def drop_dead(self) -> list[Request]:
        """Take out what was cancelled or has passed its deadline."""
        now = self._clock()
        dead: list[Request] = []
        alive: list[Request] = []
        with self._changed:
            for request in self._queue:
                gone = request.future.cancelled() or request.expired(now)
                (dead if gone else alive).append(request)
            self._queue = alive
        return dead

    def forced_before(self, parked: Request) -> int:
        """How many forced augmentations wait that go before a parked one: for them slots must be left.

        Forced augmentations may not park, so without this a stream of parked ones would starve them.
        """
        turn = (parked.priority, parked.submitted)
        with self._changed:
            return sum(
                request.forced_to_augment and (request.priority, request.submitted) < turn
                for request in self._queue
            )

    def next_batch(self, room: Room) -> list[Request]:
        """Take the next prefill batch, sorted by length; empty when nothing can run now.

        A background request (priority above 0) goes first where it has waited for `BACKGROUND_SECONDS` in
        which none has run, from the end of the last: a query waits behind one small batch at most, then
        queries have a second to themselves, and no document waits for ever.
        The first request that can run always does; others join in queue order while the batch stays under
        the token budget; where it is padded, padding counts, and has to stay under a third of it. What does
        not fit waits, so an outlier in length neither stretches a batch nor starves. What runs later by its
        priority does not join either: a query would have to wait for the documents that share its batch. A
        forced augmentation needs a free slot; a query that may turn out to need one needs a slot or a
        parking place. A prompt above the budget comes alone, to be prefilled in parts.
        """
        batch = _Batch(self._settings, room)
        with self._changed:
            now = self._clock()
            if self._background_runs:  # until now, as the engine asks again when a batch is through
                self._background_ran = now
            taken = {id(request) for request in self._in_turn(now) if batch.take(request)}
            self._queue = [request for request in self._queue if id(request) not in taken]
            self._left.extend(
                _Left(now, request.priority, request.may_augment, request.forced_to_augment)
                for request in batch.requests
            )
            self._background_runs = any(request.priority > 0 for request in batch.requests)
        return sorted(batch.requests, key=lambda request: request.prefill_length)

    def _in_turn(self, now: float) -> list[Request]:
        """The queue as it is, or background first where some has waited and none has run for a while."""
        first = next((place for place, request in enumerate(self._queue) if request.priority > 0), 0)
        if first and now - max(self._background_ran, self._queue[first].submitted) >= BACKGROUND_SECONDS:
            return self._queue[first:] + self._queue[:first]
        return self._queue

    def background_ran(self) -> None:
        """A part of a long background prompt is through, which counts as background work too."""
        with self._changed:
            self._background_ran = self._clock()

    def close(self) -> list[Request]:
        """Refuse what comes from now on, wake the engine, and hand back what was waiting."""
        with self._changed:
            self._closed = True
            waiting, self._queue = self._queue, []
            self._changed.notify_all()
        return waiting

    def _retry_after(self) -> float:
        """Seconds until the queue drains, within bounds."""
        low, high = _RETRY_BOUNDS
        return min(max(self._wait_behind(self._queue, lambda _: True), low), high)

    def _wait_behind(self, ahead: Sequence[Request], counts: Callable[[Request | _Left], bool]) -> float:
        """Seconds until the last of those ahead leaves, at the pace of what counts since the first waits."""
        if not ahead:
            return 0.0
        now, since = self._clock(), min(waiting.submitted for waiting in ahead)
        if len(self._left) == self._left.maxlen:
            since = max(since, self._left[0].when)
        left = sum(one.when >= since and counts(one) for one in self._left)
        if left < _ENOUGH_LEFT:
            return now - since
        gives_up = max(math.inf if waiting.deadline is None else waiting.deadline for waiting in ahead)
        return min(len(ahead) * (now - since) / left, gives_up - now)


@dataclass(frozen=True, slots=True)
class _Left:
    """A request that left the queue: when, and of what kind it was."""

    when: float
    priority: int
    may_augment: bool
    forced_to_augment: bool


def _is_overtaken(waiting: Request | _Left, choice: RouteChoice | None) -> bool:
    """Whether a request may have to wait where a later one, of this choice, need not."""
    if choice is RouteChoice.AUGMENT:
        return False
    return waiting.forced_to_augment if choice is RouteChoice.AUTO else waiting.may_augment


class _Batch:
    """A prefill batch while it is being filled."""

    def __init__(self, settings: EngineSettings, room: Room) -> None:
        self.requests: list[Request] = []
        self._settings = settings
        self._room = room
        self._longest = 0
        self._tokens = 0
        self._augmenting = 0  # requests that may need a slot
        self._forced = 0  # requests that will need one

    def take(self, request: Request) -> bool:
        """Add the request if it fits; says whether it did."""
        if self.requests and request.priority != self.requests[0].priority:
            return False
        if self._is_long(request) and not self._room.long:
            return False
        if not (self._has_room(request) and self._fits(request.prefill_length)):
            return False
        self.requests.append(request)
        self._longest = max(self._longest, request.prefill_length)
        self._tokens += request.prefill_length
        self._augmenting += request.may_augment
        self._forced += request.forced_to_augment
        return True

    def _is_long(self, request: Request) -> bool:
        return request.prefill_length > self._settings.step_tokens(request.priority)

    def _has_room(self, request: Request) -> bool:
        if not request.may_augment:
            return True
        if self._augmenting >= self._room.slots + self._room.parking:
            return False
        return not request.forced_to_augment or self._forced < self._room.slots

    def _fits(self, length: int) -> bool:
        if not self.requests:
            return True
        if len(self.requests) >= self._settings.max_batch_size:
            return False
        budget = self._settings.step_tokens(self.requests[0].priority)
        if not self._room.pads:
            return self._tokens + length <= budget
        padded = max(self._longest, length) * (len(self.requests) + 1)
        padding = padded - self._tokens - length
        return padded <= budget and padding <= max(_FREE_PADDING, padded // 3)
