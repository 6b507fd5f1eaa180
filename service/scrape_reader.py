"""Reads the backend for a scrape, which has to be answered soon whatever the store does."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

from index.types import CollectionInfo, StoreError, VectorStore
from model.types import Embedder
from service.metrics import DiskSpace

STORE_SECONDS = 3.0  # well below the 10 s after which Prometheus gives a scrape up


class ScrapeReader:
    """What a scrape reads of one backend. Thread-safe."""

    def __init__(
        self,
        embedder: Embedder,
        store: VectorStore,
        data_dir: Path | None,
        store_seconds: float = STORE_SECONDS,
    ) -> None:
        """`data_dir` is where the store keeps its files, None where it keeps none on this machine."""
        self._embedder = embedder
        self._store = store
        self._data_dir = data_dir
        self._seconds = store_seconds
        self._lock = threading.Lock()
        self._listing: Future[Sequence[CollectionInfo]] | None = None

    def queue_depth(self) -> int:
        """Items waiting for the model."""
        return self._embedder.queue_depth

    def collections(self) -> Sequence[CollectionInfo] | None:
        """Every collection and its count; None where the store does not answer, or not in time.

        The store is asked once at a time: scrapes that come while it hangs wait for the same answer, so that
        they do not pile up threads.
        """
        with self._lock:
            if self._listing is None or self._listing.done():
                self._listing = Future()
                threading.Thread(target=self._list, args=(self._listing,), name="scrape", daemon=True).start()
            listing = self._listing
        try:
            return listing.result(self._seconds)
        except (TimeoutError, StoreError):
            return None

    def disk(self) -> DiskSpace | None:
        """The collections' disk; None where they are not on one of this machine."""
        if self._data_dir is None:
            return None
        try:
            usage = shutil.disk_usage(self._data_dir)
        except OSError:
            return None
        return DiskSpace(usage.total, usage.free)

    def _list(self, listing: Future[Sequence[CollectionInfo]]) -> None:
        try:
            listing.set_result(self._store.list())
        except BaseException as error:  # whoever waits for it raises it
            listing.set_exception(error)
