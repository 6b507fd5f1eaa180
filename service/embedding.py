"""Items of a request to embeddings: images fetched, items submitted side by side, failures placed.

A request is all or nothing. The first item that fails ends it, with a problem that names the item; what
was already submitted is cancelled, as it is when the client goes away or the deadline passes.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import anyio
import anyio.to_thread
from opentelemetry.trace import Tracer

from model.errors import DeadlineExceeded, ImageTooLarge, InputError, QueueFull
from model.types import Embedder, Embedding, EmbedOptions, InputType, Item
from service.images import ImageResolver
from service.mapping import item_problem
from service.metrics import Metrics
from service.tracing import NO_TRACING, trace_embedding, traced

T = TypeVar("T")

PREPARING_THREADS = 4
# One request prepares at most this many items at once, so that a large one leaves room for others.
_PREPARED_AT_ONCE = 2
_FETCHED_AT_ONCE = 8
# The engine ends requests at their deadline; this only catches an engine that does not answer at all.
_GRACE_SECONDS = 2.0
_RETRY_SECONDS = 1.0
# A call is refused when its answer should take more than this share of its time: paces change.
_EXPECTED_SHARE = 0.7
_RETRY_LATER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class RequestItem:
    """An item as it was sent: `image` is a reference, `address` its place in the request.

    `bare`: a string, not an object, so that its text has no address of its own.
    """

    address: str
    text: str | None = None
    image: str | None = None
    bare: bool = False


@dataclass(slots=True)
class Admission:
    """Places in the queue that one request holds for its items that are not yet submitted."""

    unsubmitted: int


class EmbeddingService:
    """Embeds the items of requests through one engine.

    A request is admitted whole, before its images are read, or refused whole: large requests that arrive
    together would otherwise fill the queue item by item and all be refused in the end.
    """

    def __init__(
        self,
        embedder: Embedder,
        images: ImageResolver,
        metrics: Metrics,
        max_queue: int,
        max_image_bytes: int = 32 * 2**20,
        tracer: Tracer = NO_TRACING.tracer,
    ) -> None:
        """Take the parts; `max_image_bytes` bounds the images of one request together."""
        self._tracer = tracer
        self._embedder = embedder
        self._images = images
        self._metrics = metrics
        self._max_queue = max_queue
        self._max_image_bytes = max_image_bytes
        self._unsubmitted = 0  # over all admitted requests; touched on the event loop only
        # Documents have threads of their own, so that queries do not wait behind their images.
        self._preparing = anyio.CapacityLimiter(PREPARING_THREADS)
        self._preparing_documents = anyio.CapacityLimiter(PREPARING_THREADS)

    @property
    def waiting(self) -> int:
        """Items that are admitted and not yet running."""
        return self._unsubmitted + self._embedder.queue_depth

    def full(self) -> QueueFull | None:
        """Why not a single item can be admitted, whatever it asks for; None where one may be."""
        return QueueFull(_RETRY_SECONDS) if self.waiting >= self._max_queue else None

    @contextmanager
    def admit(
        self, items: int, options: EmbedOptions, deadline: float, *, bulk: bool = False
    ) -> Iterator[Admission]:
        """Hold places for a request's items.

        Raises `QueueFull` where they do not all fit, or where others wait and the answer is not to be
        expected well before the deadline, a `time.monotonic()` instant: its client can go elsewhere now. Bulk
        work leaves half of the queue to others, unless nothing waits at all.
        """
        waiting = self.waiting
        room = self._max_queue // 2 if bulk and waiting else self._max_queue
        if waiting + items > room:
            raise QueueFull(_RETRY_SECONDS)
        allowed = _EXPECTED_SHARE * (deadline - time.monotonic())
        if waiting and self._embedder.expected_seconds(options) > allowed:
            raise QueueFull(_RETRY_LATER_SECONDS, "The queue would take too long")
        admission = Admission(items)
        self._unsubmitted += items
        try:
            yield admission
        finally:
            self._unsubmitted -= admission.unsubmitted

    async def embed(
        self, items: Sequence[RequestItem], options: EmbedOptions, deadline: float
    ) -> list[Embedding]:
        """The items' embeddings, in order; `deadline` is a `time.monotonic()` instant.

        Raises a `Problem` that names the item at fault, `QueueFull`, `DeadlineExceeded` or `EngineStopped`.
        """
        with self.admit(len(items), options, deadline) as admission:
            resolved = await self.resolve(items, deadline)
            return await self.embed_resolved(items, resolved, options, deadline, admission)

    async def resolve(self, items: Sequence[RequestItem], deadline: float) -> list[Item]:
        """The items with their images as bytes. Raises a `Problem` that names the item at fault."""
        slots = asyncio.Semaphore(_FETCHED_AT_ONCE)
        held = 0

        async def one(item: RequestItem) -> Item:
            nonlocal held
            if item.image is None:
                return Item(text=item.text)
            try:
                async with slots:
                    image = await self._images.resolve(item.image)
                held += len(image)
                if held > self._max_image_bytes:  # a short list of addresses may lead to gigabytes
                    message = (
                        f"The images of the call are together larger than {self._max_image_bytes} bytes."
                    )
                    raise ImageTooLarge("image", "bytes", message, "Send fewer in one call.")
                return Item(text=item.text, image=image)
            except InputError as error:
                raise item_problem(error, item.address, item.bare) from None

        return await _all_or_nothing([partial(one, item) for item in items], deadline)

    async def embed_resolved(
        self,
        items: Sequence[RequestItem],
        resolved: Sequence[Item],
        options: EmbedOptions,
        deadline: float,
        admission: Admission,
    ) -> list[Embedding]:
        """As `embed`, for admitted items whose images are at hand; `items` gives their addresses."""
        slots = asyncio.Semaphore(_PREPARED_AT_ONCE)

        async def one(place: RequestItem, item: Item) -> Embedding:
            try:
                with traced(self._tracer, "embed") as span:
                    embedding = await self._embed_one(item, options, deadline, slots, admission)
                    trace_embedding(self._tracer, span, embedding)
                return embedding
            except InputError as error:
                raise item_problem(error, place.address, place.bare) from None

        pairs = zip(items, resolved, strict=True)
        return await _all_or_nothing([partial(one, place, item) for place, item in pairs], deadline)

    async def _embed_one(
        self,
        item: Item,
        options: EmbedOptions,
        deadline: float,
        slots: asyncio.Semaphore,
        admission: Admission,
    ) -> Embedding:
        started = time.perf_counter()
        submitted: list[Future[Embedding]] = []
        abandoned = threading.Event()
        query = options.input_type is InputType.QUERY
        limiter = self._preparing if query else self._preparing_documents

        def submit() -> None:
            submitted.append(self._embedder.submit(item, options, deadline))
            if abandoned.is_set():
                submitted[0].cancel()

        try:
            async with slots:
                await anyio.to_thread.run_sync(submit, limiter=limiter)
            admission.unsubmitted -= 1
            self._unsubmitted -= 1
            embedding = await asyncio.wrap_future(submitted[0])
        finally:
            # A task that is cancelled leaves a thread behind that may submit later; it is told, too.
            abandoned.set()
            for future in submitted:
                future.cancel()
        self._metrics.on_embedding(embedding, options.input_type, time.perf_counter() - started)
        return embedding


async def _all_or_nothing(jobs: Sequence[Callable[[], Awaitable[T]]], deadline: float) -> list[T]:
    """Run all jobs together; the first failure cancels the others, waits for them and is raised."""

    async def run(job: Callable[[], Awaitable[T]]) -> T:
        return await job()

    tasks = [asyncio.create_task(run(job)) for job in jobs]
    try:
        async with asyncio.timeout(max(0.0, deadline - time.monotonic()) + _GRACE_SECONDS):
            return list(await asyncio.gather(*tasks))
    except TimeoutError:
        raise DeadlineExceeded("The deadline passed.") from None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
