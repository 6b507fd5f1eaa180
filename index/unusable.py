"""The collections of a data directory that could not be opened, and why.

What the disk only refused, when it was full or for a moment out of reach, is sound: it is tried again, in
a thread of its own, until it opens. What is damaged beyond salvage waits for whoever mends it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from itertools import chain, repeat

from index.log_names import logged_error, logged_name
from index.types import UNUSABLE, CollectionInfo, DamagedLog, StorageError, UnusableCollection

RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)  # between two tries; the last from there on

_logger = logging.getLogger(__name__)


class UnusableCollections:
    """Knows the names, answers for them, and has `reopen` called on those that are worth another try."""

    def __init__(self, reopen: Callable[[str], None]) -> None:
        """`reopen` opens a collection, and calls `opened` or `refused` as the outcome is."""
        self._reopen = reopen
        self._reasons: dict[str, StorageError] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._retrying: threading.Thread | None = None

    def __contains__(self, name: str) -> bool:
        return name in self._reasons

    def refused(self, name: str, error: StorageError | OSError) -> None:
        """A collection could not be opened."""
        reason = error if isinstance(error, StorageError) else StorageError(error.strerror or str(error))
        with self._lock:
            known = name in self._reasons
            self._reasons[name] = reason
            retry = not isinstance(reason, DamagedLog)
            if retry and self._retrying is None and not self._closing.is_set():
                self._retrying = threading.Thread(target=self._retry, name="reopening", daemon=True)
                self._retrying.start()
        if not known:  # not at every try
            message = "collection %s cannot be served: %s" + ("; it is tried again" if retry else "")
            _logger.error(message, logged_name(name), logged_error(error))

    def opened(self, name: str) -> None:
        """A collection is served, or is gone."""
        with self._lock:
            reason = self._reasons.pop(name, None)
        if reason is not None:
            _logger.info("collection %s is unusable no longer", logged_name(name))

    def check(self, name: str) -> None:
        """Raises `UnusableCollection` for one of these."""
        reason = self._reasons.get(name)
        if reason is None:
            return
        more = "" if isinstance(reason, DamagedLog) else " Nothing is known to be lost; it is tried again."
        raise UnusableCollection(f"The collection {name!r} cannot be served: {reason}{more}") from reason

    def damage(self, name: str) -> str | None:
        """What is damaged of a collection beyond salvage; None for what was not looked into."""
        reason = self._reasons.get(name)
        return str(reason) if isinstance(reason, DamagedLog) else None

    def infos(self) -> dict[str, CollectionInfo]:
        """The collections as `list` tells them."""
        return {
            name: CollectionInfo(name, 0, 0, UNUSABLE, "", damage=str(reason))
            for name, reason in self._reasons.copy().items()
        }

    def close(self) -> None:
        """Try no more; returns when a try that is under way has ended."""
        with self._lock:
            self._closing.set()
            retrying = self._retrying
        if retrying is not None:
            retrying.join()

    def _retry(self) -> None:
        for pause in chain(RETRY_SECONDS, repeat(RETRY_SECONDS[-1])):
            if self._closing.wait(pause):
                return
            with self._lock:
                names = [name for name, why in self._reasons.items() if not isinstance(why, DamagedLog)]
                if not names:
                    self._retrying = None
                    return
            for name in names:
                if not self._closing.is_set():
                    self._reopen(name)
