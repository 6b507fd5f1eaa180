"""Keeps every other replica from writing to a collection for as long as a rebuild reads it."""

from __future__ import annotations

import threading
import time
import uuid
from contextlib import suppress
from types import TracebackType
from typing import Self

from index.types import CollectionHeld, StoreError, VectorStore

# That others refuse writes, unless told again: so long does a replica that died keep them out.
HOLD_SECONDS = 120
_RENEWALS = 10  # tries to tell them again before a hold would end


class WriteHold:
    """A hold that is told again from a thread of its own, however long a batch or a write takes.

    As a context: entering raises `CollectionHeld` where another rebuild holds the collection; leaving
    allows writes again, to whatever has the name by then.
    """

    def __init__(self, store: VectorStore, name: str, seconds: float = HOLD_SECONDS) -> None:
        """Hold the collection `name`; each telling is good for `seconds`."""
        self._store, self._name, self._seconds = store, name, seconds
        self._holder = uuid.uuid4().hex
        self._until = 0.0  # by the monotonic clock
        self._refused: CollectionHeld | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"hold-{name}", daemon=True)

    def __enter__(self) -> Self:
        self._hold()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()
        with suppress(StoreError):  # it is another's by now, or ends by itself
            self._store.hold_writes(self._name, 0, self._holder)

    def check(self) -> None:
        """Raise `CollectionHeld` if writes may have come in since the beginning."""
        if self._refused is not None:
            raise self._refused
        if time.monotonic() >= self._until:
            raise CollectionHeld(
                f"The store did not answer for {self._seconds:g} s; writes to {self._name!r} may have come "
                "in. Begin the rebuild again: what it has embedded is kept."
            )

    def _hold(self) -> None:
        began = time.monotonic()
        self._store.hold_writes(self._name, self._seconds, self._holder)
        self._until = began + self._seconds

    def _renew(self) -> None:
        while not self._ending.wait(self._seconds / _RENEWALS):
            if time.monotonic() >= self._until:
                return  # too late: the others take writes again
            try:
                self._hold()
            except CollectionHeld as refusal:
                self._refused = refusal
                return
            except StoreError:
                continue  # once more, while there is time
