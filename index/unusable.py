"""The collections of a data directory that could not be opened, and why.

What the disk only refused, when it was full or for a moment out of reach, may well be sound: it is tried
again, in a thread of its own, until it opens. So is a log that is missing, as it may be put back. What is
damaged beyond salvage, or of a newer version, waits for whoever mends it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from itertools import chain, repeat

from index.log_names import logged_error, logged_name
from index.types import (
    UNUSABLE,
    CollectionInfo,
    DamagedLog,
    MissingLog,
    NewerFormat,
    StorageError,
    UnusableCollection,
)

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
        reason = error if isinstance(error, StorageError) else StorageError(f"{error.strerror or error}.")
        retry = _may_pass(reason)
        with self._lock:
            known = self._reasons.get(name)
            self._reasons[name] = reason
            if retry and self._retrying is None and not self._closing.is_set():
                self._retrying = threading.Thread(target=self._retry, name="reopening", daemon=True)
                self._retrying.start()
        if str(known) != str(reason):  # not at every try
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
        more = " It is tried again." if _may_pass(reason) else ""
        raise UnusableCollection(f"The collection {name!r} cannot be served: {reason}{more}") from reason

    def final_reason(self, name: str) -> str | None:
        """Why a collection will not be served as it is; None for one that may be yet."""
        reason = self._reasons.get(name)
        return None if reason is None or _may_pass(reason) else str(reason)

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
                names = [name for name, reason in self._reasons.items() if _may_pass(reason)]
                if not names:
                    self._retrying = None
                    return
            for name in names:
                if not self._closing.is_set():
                    self._try(name)

    def _try(self, name: str) -> None:
        try:
            self._reopen(name)
        except Exception as error:  # whatever it is, the next try may go better
            _logger.error("collection %s was tried again: %s", logged_name(name), logged_error(error))


def _may_pass(reason: StorageError) -> bool:
    return isinstance(reason, MissingLog) or not isinstance(reason, DamagedLog | NewerFormat)
