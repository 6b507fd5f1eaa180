"""The rebuilds of one server: begun, watched, stopped; and the writes that they keep out.

While a collection is rebuilt, writes to it are refused: a document that came in behind the job would be
missing from the result. A rebuild begins only after the writes under way have ended.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

import structlog

from index.log_names import logged_error, logged_name
from index.types import CollectionInfo, VectorStore
from model.types import Embedder
from service import problems
from service.mapping import retry_after
from service.problems import Problem
from service.rebuild_job import (
    STAGED_MARK,
    NotAllEmbedded,
    RebuildJob,
    RebuildProgress,
    Stopped,
    staged_name,
)
from service.vector_space import vector_space

BATCH = 64
_log = structlog.get_logger("solomon.rebuild")


class RebuildState(StrEnum):
    """Where a rebuild stands; one that is stopped or failed goes on when it is begun again."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(slots=True)
class Rebuild:
    """One rebuild since the server was started; `reason` says why it failed."""

    collection: str
    made_by: str
    model: str
    progress: RebuildProgress
    state: RebuildState = RebuildState.RUNNING
    reason: str | None = None
    started: float = field(default_factory=time.monotonic)
    seconds: float | None = None  # once it has ended
    stopping: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None


class Rebuilds:
    """Every rebuild of a server, one at a time for a collection. Thread-safe."""

    def __init__(self, embedder: Embedder, store: VectorStore, max_queue: int) -> None:
        self._embedder = embedder
        self._store = store
        self._batch = max(1, min(BATCH, max_queue // 8))  # two batches leave most of the queue to others
        self._changed = threading.Condition()
        self._rebuilds: dict[str, Rebuild] = {}
        self._writes: Counter[str] = Counter()

    def begin(self, name: str, *, drop_failed: bool = False) -> Rebuild:
        """Begin a rebuild, or return the one that runs.

        A collection of the served checkpoint is done at once. Raises `UnknownCollection`, and a `Problem`
        for a staged one.
        """
        _check_not_staged(name)
        info = self._store.get(name)
        space = vector_space(self._embedder.info)
        with self._changed:
            found = self._rebuilds.get(name)
            if found is not None and found.state is RebuildState.RUNNING:
                return found
            rebuild = Rebuild(name, info.model, space, RebuildProgress(total=info.count))
            self._rebuilds[name] = rebuild
            if self._is_current(info):
                rebuild.state, rebuild.seconds = RebuildState.DONE, 0.0
                rebuild.progress.done = rebuild.progress.resumed = info.count
                return rebuild
            rebuild.thread = threading.Thread(
                target=self._run, args=(rebuild, drop_failed), name=f"rebuild-{name}", daemon=True
            )
            rebuild.thread.start()
        return rebuild

    def find(self, name: str) -> Rebuild | None:
        """The latest rebuild of a collection since the server was started."""
        with self._changed:
            return self._rebuilds.get(name)

    def stop(self, name: str) -> Rebuild | None:
        """Tell a rebuild to stop and wait until it has; what it did is kept for the next one."""
        rebuild = self.find(name)
        if rebuild is not None and rebuild.thread is not None:
            rebuild.stopping.set()
            rebuild.thread.join()
        return rebuild

    def close(self) -> None:
        """Stop every rebuild; the engine is closed for that, because they may wait for it for long."""
        with self._changed:
            rebuilds = list(self._rebuilds.values())
        for rebuild in rebuilds:
            rebuild.stopping.set()
        self._embedder.close()
        for rebuild in rebuilds:
            if rebuild.thread is not None:
                rebuild.thread.join()

    def check_writable(self, name: str) -> None:
        """Raise a `Problem` (409) for a collection that is being rebuilt, and for a staged one."""
        _check_not_staged(name)
        with self._changed:
            self._check_not_running(name)

    @contextmanager
    def writing(self, name: str) -> Iterator[None]:
        """Around a write: keeps a rebuild from beginning. Raises a `Problem` (409) where one runs."""
        with self._changed:
            self._check_not_running(name)
            self._writes[name] += 1
        try:
            yield
        finally:
            with self._changed:
                self._writes[name] -= 1
                if not self._writes[name]:
                    del self._writes[name]
                self._changed.notify_all()

    def _check_not_running(self, name: str) -> None:
        for rebuild in self._rebuilds.values():
            if rebuild.state is RebuildState.RUNNING and name in (
                rebuild.collection,
                staged_name(rebuild.collection),
            ):
                done = f"{rebuild.progress.done} of {rebuild.progress.total} documents are done"
                raise Problem(
                    problems.REBUILDING,
                    f"Collection {rebuild.collection!r} is being rebuilt and takes no writes; {done}. "
                    f"GET /collections/{rebuild.collection}/rebuild tells when it is ready.",
                    headers=retry_after(30),
                )

    def _is_current(self, info: CollectionInfo) -> bool:
        engine = self._embedder.info
        return (info.model, info.dimensions) == (vector_space(engine), engine.dimensions)

    def _run(self, rebuild: Rebuild, drop_failed: bool) -> None:
        """Run a job to its end; on the job's thread."""
        name = rebuild.collection
        job = RebuildJob(self._embedder, self._store, name, drop_failed, self._batch, rebuild.stopping)
        _log.info("rebuild began", collection=logged_name(name), made_by=rebuild.made_by, model=rebuild.model)
        state, reason, told = RebuildState.DONE, None, None
        try:
            with self._changed:
                self._changed.wait_for(lambda: not self._writes[name])
            rebuild.progress.total = self._store.get(name).count
            job.run(rebuild.progress)
        except Stopped:
            state = RebuildState.STOPPED
        except NotAllEmbedded as error:
            state, reason, told = RebuildState.FAILED, str(error), logged_error(error)
        except Exception as error:
            state = RebuildState.STOPPED if rebuild.stopping.is_set() else RebuildState.FAILED
            reason, told = f"{type(error).__name__}: {error}", logged_error(error)
        with self._changed:
            rebuild.state, rebuild.reason = state, reason
            rebuild.seconds = time.monotonic() - rebuild.started
        _log.info("rebuild ended", collection=logged_name(name), state=state.value, reason=told)


def _check_not_staged(name: str) -> None:
    if STAGED_MARK in name:
        detail = (
            f"{name!r} holds the unfinished rebuild of another collection; rebuild that one, or drop this."
        )
        raise Problem(problems.REBUILDING, detail)
