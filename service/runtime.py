"""The state of one application: what is loaded, how far loading has come, and the services on top.

The application answers health from its first moment, while the backend (engine and store) opens in a
thread of its own; every other call is told 503 until then.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import anyio
import structlog
from opentelemetry.trace import Tracer

from index.types import VectorStore
from model.types import Embedder, EngineObserver
from service import problems
from service.embedding import EmbeddingService
from service.image_urls import ImageFetcher
from service.images import ImageResolver
from service.ingestion import IngestionService
from service.mapping import retry_after
from service.metrics import Metrics
from service.problems import Problem
from service.rebuilding import Rebuilds
from service.scrape_reader import ScrapeReader
from service.searching import SearchService
from service.settings import FAISS, Settings

STORE_THREADS = 8
FILE_THREADS = 2
_log = structlog.get_logger("solomon.runtime")


@dataclass(frozen=True, slots=True)
class Backend:
    """What the service stands on; it is closed with the application."""

    embedder: Embedder
    store: VectorStore

    def close(self) -> None:
        """Stop the engine, then write the store's snapshots and release its folder."""
        try:
            self.embedder.close()
        finally:
            self.store.close()


class Opening(Protocol):
    """What a loader is given: whom to tell, and whether to give up."""

    @property
    def observer(self) -> EngineObserver:
        """Receives the engine's events."""

    def describe(self, stage: str) -> None:
        """Say what is being done ("loading the model"); readiness repeats it."""

    def check_stopping(self) -> None:
        """Raise `OpeningStopped` if the server shuts down meanwhile."""


class OpeningStopped(Exception):
    """The server was told to stop before it was ready."""


OpenBackend = Callable[[Opening], Backend]


@dataclass(frozen=True, slots=True)
class Services:
    """What handlers call once the backend is open."""

    backend: Backend
    embedding: EmbeddingService
    search: SearchService
    ingestion: IngestionService
    rebuilds: Rebuilds
    store_threads: anyio.CapacityLimiter
    file_threads: anyio.CapacityLimiter  # for what reads or writes a whole collection
    opened_at: int  # Unix seconds

    def close(self) -> None:
        """Stop the engine and the rebuilds, which write to the store, then close the store."""
        try:
            self.rebuilds.close()
        finally:
            self.backend.close()


class Runtime:
    """Opens, holds and closes the backend of one application."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        fetcher: ImageFetcher | None,
        tracer: Tracer,
        version: str,
    ) -> None:
        self.settings = settings
        self.metrics = metrics
        self._tracer = tracer
        self._version = version
        self.failure: Exception | None = None
        self._fetcher = fetcher or ImageFetcher(
            settings.image_url_hosts, settings.max_image_bytes, settings.image_url_timeout_seconds
        )
        self._services: Services | None = None
        self._stage = "starting"
        self._stopping = threading.Event()
        self._draining = False
        metrics.queue_limit.set(settings.max_queue)
        metrics.ready.set_function(lambda: float(self.ready))

    @property
    def observer(self) -> EngineObserver:
        """The metrics, which watch the engine."""
        return self.metrics

    def describe(self, stage: str) -> None:
        """Say what is being done; called by the loader's thread."""
        self._stage = stage
        _log.info("opening", stage=stage)

    def check_stopping(self) -> None:
        """Raise `OpeningStopped` if the server shuts down meanwhile."""
        if self._stopping.is_set():
            raise OpeningStopped

    @property
    def services(self) -> Services:
        """The open services. Raises a `Problem` (503) that says how far loading has come."""
        if self._services is None:
            reason = "Starting failed; the log says why" if self.failure else f"The server is {self._stage}"
            raise Problem(problems.NOT_READY, f"{reason}. Try again later.", headers=retry_after(2))
        if not self._services.backend.embedder.alive:
            raise Problem(problems.NOT_READY, "The model has stopped.", headers=retry_after(5))
        return self._services

    @property
    def ready(self) -> bool:
        """Whether calls should be sent here: open, with a live engine, and not about to stop."""
        return not self._draining and self._services is not None and self._services.backend.embedder.alive

    @property
    def draining(self) -> bool:
        """Whether the server was told to stop: calls are answered, but no more should be sent."""
        return self._draining

    @property
    def healthy(self) -> bool:
        """Whether a restart would not help: still opening, or open with a live engine."""
        return self.failure is None and (self._services is None or self._services.backend.embedder.alive)

    async def open(self, open_backend: OpenBackend) -> None:
        """Open the backend in a thread and build the services; a failure is kept in `failure`."""
        started = time.perf_counter()
        try:
            backend = await asyncio.to_thread(open_backend, self)
        except OpeningStopped:
            return
        except Exception as error:
            self.failure = error
            _log.error("opening failed", error=str(error), kind=type(error).__name__)
            raise
        self._services = self._build(backend)
        data_dir = self.settings.data_dir if self.settings.store == FAISS else None
        self.metrics.read_at_scrape(ScrapeReader(backend.embedder, backend.store, data_dir))
        info = backend.embedder.info
        self.metrics.build.labels(
            self._version, info.model, info.checkpoint_sha256[:12], info.device, info.dtype, info.decoding
        ).set(1)
        _log.info(
            "ready",
            seconds=round(time.perf_counter() - started, 2),
            model=info.model,
            device=info.device,
            dtype=info.dtype,
            decoding=info.decoding,
        )

    def query_deadline(self) -> float:
        """The `time.monotonic()` instant at which a query that begins now is given up."""
        return time.monotonic() + self.settings.request_timeout_seconds

    def stop_opening(self) -> None:
        """Ask a loader that is still at work to give up."""
        self._stopping.set()

    def begin_draining(self) -> None:
        """Say from now on that the server is not ready; may be called by a signal handler."""
        self._draining = True

    async def hand_back(self) -> None:
        """End what the model still works on: each such call gets a 503, to be sent again elsewhere."""
        if self._services is not None:
            await asyncio.to_thread(self._services.backend.embedder.close)

    async def close(self) -> None:
        """Close what was opened."""
        await self._fetcher.aclose()
        services, self._services = self._services, None
        self._stage = "stopping"
        if services is not None:
            await asyncio.to_thread(services.close)

    def _build(self, backend: Backend) -> Services:
        threads = anyio.CapacityLimiter(STORE_THREADS)
        images = ImageResolver(self._fetcher, self.settings.max_image_bytes)
        embedding = EmbeddingService(
            backend.embedder,
            images,
            self.metrics,
            self.settings.max_queue,
            max(self.settings.max_body_bytes, self.settings.max_image_bytes),
            self._tracer,
        )
        rebuilds = Rebuilds(backend.embedder, backend.store, self.settings.max_queue)
        return Services(
            backend=backend,
            embedding=embedding,
            search=SearchService(
                backend.embedder, embedding, backend.store, self.metrics, threads, self._tracer
            ),
            ingestion=IngestionService(backend.embedder, embedding, backend.store, threads, rebuilds),
            rebuilds=rebuilds,
            store_threads=threads,
            file_threads=anyio.CapacityLimiter(FILE_THREADS),
            opened_at=int(time.time()),
        )
