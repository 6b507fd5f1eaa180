"""Long lists and endless iterators in batches that fit one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from typing import Generic, TypeVar

from service.client.answers import Limits
from service.client.bringing import Sendable
from service.client.content import Item, ItemBody, item_body
from service.client.outcomes import Failure, Outcome

T = TypeVar("T")
D = TypeVar("D", bound=Sendable)


class Batcher(Generic[T]):
    """Gathers things of known sizes until the next would not fit; one too large for any is a batch alone."""

    def __init__(self, limits: Limits, size: Callable[[T], int]) -> None:
        self._limits = limits
        self._size = size
        self._batch: list[T] = []
        self._bytes = 0

    def add(self, thing: T) -> list[T]:
        """Take a thing in; returns the batch that had to close for it, mostly none ([])."""
        size = self._size(thing)
        full = len(self._batch) == self._limits.items or self._bytes + size > self._limits.bytes
        closed = self.close() if full else []
        self._batch.append(thing)
        self._bytes += size
        return closed

    def close(self) -> list[T]:
        """What is gathered, [] if there is nothing."""
        closed, self._batch, self._bytes = self._batch, [], 0
        return closed


def item_batcher(limits: Limits) -> Batcher[ItemBody]:
    """Gathers items as the API takes them."""
    return Batcher(limits, _item_size)


def item_batches(items: Iterable[str | Item], limits: Limits) -> Iterator[list[ItemBody]]:
    """Items as the API takes them, in batches; files are read as they come."""
    batcher = item_batcher(limits)
    for item in items:
        if batch := batcher.add(item_body(item)):
            yield batch
    if batch := batcher.close():
        yield batch


def _item_size(body: ItemBody) -> int:
    if isinstance(body, str):
        return len(body.encode())
    return sum(len(part.encode()) for part in body.values())


class Gathering(Generic[D]):
    """Documents in batches, none of them twice.

    What is no document, or is one again, is set aside and counted, and never stops the rest. An id that
    follows from path or content stands for the same document; one that the caller gives twice would make
    the result depend on which is written last, and is a failure.
    """

    def __init__(self, limits: Limits) -> None:
        self._batcher: Batcher[D] = Batcher(limits, lambda document: document.size)
        self._seen = Seen()
        self._aside = Outcome()

    def add(self, document: D | Failure) -> list[D]:
        """Take a document in; returns the batch that had to close for it, mostly none ([])."""
        if isinstance(document, Failure):
            self._aside.failures.append(document)
            return []
        if self._seen.is_new(document.id):
            return self._batcher.add(document)
        if document.own_id:
            reason = f"id: {document.id!r} was used before in this run; give each document its own id."
            self._aside.failures.append(Failure(document.source, reason))
        else:
            self._aside.unchanged += 1
        return []

    def close(self) -> list[D]:
        """The last batch, [] if there is none."""
        return self._batcher.close()

    def aside(self) -> Outcome:
        """What was set aside since this was last asked."""
        aside, self._aside = self._aside, Outcome()
        return aside


class Seen:
    """The ids of a run, as 64-bit digests: about 60 bytes a document."""

    def __init__(self) -> None:
        self._digests: set[int] = set()

    def is_new(self, document_id: str) -> bool:
        """Whether the id comes for the first time."""
        digest = int.from_bytes(blake2b(document_id.encode(), digest_size=8).digest())
        known = digest in self._digests
        self._digests.add(digest)
        return not known
