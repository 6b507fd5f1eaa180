"""The engine: callers' threads submit, one thread runs the model for all of them."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from model.engine.embedding_cache import EmbeddingCache
from model.engine.preparation import Preparer
from model.engine.request import Request, State
from model.engine.runner import Decoded, Prefilled, Runner
from model.engine.scheduler import Room, Scheduler
from model.engine.settings import EngineSettings
from model.errors import DeadlineExceeded, EngineStopped, QueueFull
from model.loaded import LoadedModel
from model.types import (
    Embedding,
    EmbedOptions,
    EngineInfo,
    EngineObserver,
    InputType,
    Item,
    Route,
    Vector,
)

_Result = TypeVar("_Result", Prefilled, Decoded)
_log = logging.getLogger(__name__)


class Engine:
    """Continuous batching over one model; implements `model.types.Embedder`.

    Every turn of the loop runs at most one part of a long prompt, one bounded prefill, and one decode step
    for all augmentations that are under way, so a new query waits for one step of others' answers, never
    for a whole one.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        settings: EngineSettings | None = None,
        observer: EngineObserver | None = None,
    ) -> None:
        self._settings = settings or EngineSettings()
        self._observer = observer
        self._tokenizer = loaded.tokenizer
        self._scheduler = Scheduler(self._settings)
        with ThreadPoolExecutor(1) as beside:  # a second of tokenizers, beside the packing of weights
            preparer = beside.submit(Preparer, loaded, self._settings)
            self._runner = Runner(loaded, self._settings)
            self._preparer = preparer.result()
        self._cache = EmbeddingCache(self._settings.embedding_cache_items)
        self._long: Request | None = None
        self._parked: deque[Request] = deque()
        self._decoding: list[Request] = []
        self._info = _describe(loaded, self._runner, self._settings)
        self._warm = threading.Event()
        self._thread = threading.Thread(target=self._run, name="solomon-engine", daemon=True)
        self._thread.start()
        self._warm.wait()

    @property
    def info(self) -> EngineInfo:
        """The loaded model's name, dimensions and limits."""
        return self._info

    @property
    def queue_depth(self) -> int:
        """Requests accepted and not yet running."""
        return self._scheduler.depth

    def expected_seconds(self, options: EmbedOptions) -> float:
        """Seconds that an item with these options would take, if all goes on as lately; 0 if none waits."""
        choice = None if options.input_type is InputType.DOCUMENT else options.route
        return self._scheduler.expected_seconds(options.priority, choice)

    @property
    def alive(self) -> bool:
        """Whether the engine's thread can still answer."""
        return self._thread.is_alive()

    def submit(self, item: Item, options: EmbedOptions, deadline: float | None = None) -> Future[Embedding]:
        """Prepare an item on the caller's thread and queue it.

        `deadline` is a `time.monotonic()` instant; past it the future fails with `DeadlineExceeded`.
        Cancelling the future frees its slot. Raises `InputError` for an item that cannot be embedded,
        `QueueFull` when the bounded queue is full and `EngineStopped` after `close`.
        """
        request = self._preparer.prepare(item, options, deadline)
        remembered = self._cache.get(request.cache_key()) if len(self._cache) else None
        if remembered is not None and not self._scheduler.closed:
            request.future.set_result(remembered)
        else:
            self._scheduler.submit(request)
        return request.future

    def embed(self, items: Sequence[Item], options: EmbedOptions) -> list[Embedding]:
        """Submit all items, wait, and return their embeddings in order (offline use).

        However many there are: when the queue is full it waits for room. The first failure is raised
        and what is still outstanding is cancelled.
        """
        futures: list[Future[Embedding]] = []
        try:
            for item in items:
                futures.append(self._submit_patiently(item, options, futures))
            return [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()

    def close(self) -> None:
        """Stop the thread; what is queued or running fails with `EngineStopped`."""
        for request in self._scheduler.close():
            self._fail(request, EngineStopped("The engine was closed while the request waited."))
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _submit_patiently(
        self, item: Item, options: EmbedOptions, earlier: Sequence[Future[Embedding]]
    ) -> Future[Embedding]:
        while True:
            try:
                return self.submit(item, options)
            except QueueFull as full:
                waiting = next((future for future in earlier if not future.done()), None)
                if waiting is None:
                    time.sleep(min(full.retry_after, 1.0))
                else:
                    waiting.exception()

    # From here on: the engine's own thread.

    def _run(self) -> None:
        torch.set_num_threads(self._settings.thread_count())
        try:
            with torch.inference_mode():
                self._warm_up()
                while self._scheduler.wait(busy=bool(self._running())):
                    self._turn()
        except BaseException:
            _log.exception("The engine's thread died.")
            raise
        finally:
            for request in [*self._scheduler.close(), *self._running()]:
                self._fail(request, EngineStopped("The engine was stopped before the vector was ready."))

    def _warm_up(self) -> None:
        """Here, because what is compiled is this thread's; without it the first requests wait for it."""
        try:
            self._runner.warm()
        except Exception:
            _log.exception("Warming up failed.")
        finally:
            self._warm.set()

    def _turn(self) -> None:
        """One turn: at most one part of a long prompt, one prefill, one decode step."""
        self._drop_dead()
        self._start_parked()
        if self._long is not None:
            self._prefill_part(self._long)
        if batch := self._scheduler.next_batch(self._room()):
            self._admit(batch)
            if self._runner.is_long(batch[0]):
                self._long = batch[0]
            else:
                self._prefill(batch)
        if self._decoding:
            self._decode(list(self._decoding))

    def _running(self) -> list[Request]:
        """What has left the queue and is not finished."""
        return [*([self._long] if self._long else []), *self._parked, *self._decoding]

    def _room(self) -> Room:
        """What may be begun; the long prompt may have to park when it is through."""
        parked = len(self._parked) + (self._long is not None)
        parking = max(0, self._settings.max_parked - parked)
        slots, pads = self._runner.cache.free_slots, self._runner.decoder.pads
        return Room(slots, parking, long=self._long is None, pads=pads)

    def _drop_dead(self) -> None:
        """Let go of cancelled and expired requests, wherever they stand, and of their slots."""
        now = time.monotonic()
        dead = [request for request in self._running() if request.future.cancelled() or request.expired(now)]
        for request in dead:
            if request.expired(now):
                self._scheduler.ended(request, now - request.admitted)
        for request in [*self._scheduler.drop_dead(), *dead]:
            self._fail(request, DeadlineExceeded("The deadline passed before the vector was ready."))

    def _admit(self, batch: Sequence[Request]) -> None:
        now = time.monotonic()
        for request in batch:
            request.state = State.PREFILL
            request.admitted = now
            self._observe_admission(now - request.submitted)

    def _forward(
        self, batch: Sequence[Request], run: Callable[[Sequence[Request]], list[_Result]]
    ) -> list[tuple[Request, _Result]]:
        """Run a pass; should it raise, run each request alone, so that only the culprit fails."""
        try:
            return list(zip(batch, run(batch), strict=True))
        except Exception as error:
            if len(batch) == 1:
                _log.exception("A forward pass failed for one request.")
                self._fail(batch[0], error)
                return []
            _log.warning(
                "A forward pass over %d requests failed (%s); running each alone.", len(batch), error
            )
        return [pair for request in batch for pair in self._forward([request], run)]

    def _prefill(self, batch: Sequence[Request]) -> None:
        """The single pass: it decides every query's route and finishes all but the augmented."""
        started = time.monotonic()
        results = self._forward(batch, self._runner.prefill)
        self._observe_step("prefill", len(batch), started)
        for request, result in results:
            with self._failing_alone(request):
                self._take_route(request, result)

    def _prefill_part(self, request: Request) -> None:
        """The next part of the long prompt; after the last it goes on like any other."""
        started = time.monotonic()
        with self._failing_alone(request):
            result = self._runner.prefill_part(request)
            self._observe_step("prefill", 1, started)
            if request.priority > 0:
                self._scheduler.background_ran()
            if result is not None:
                self._long = None
                self._take_route(request, result)

    def _take_route(self, request: Request, result: Prefilled) -> None:
        request.augment_probability = result.augment_probability
        request.route = request.choose_route() if request.is_query else None
        if request.route is Route.AUGMENT and result.prompt_kv is not None:
            self._begin_augmentation(request, result.prompt_kv())
        else:
            self._finish(request, result.vector)

    def _begin_augmentation(self, request: Request, prompt_kv: Tensor) -> None:
        """Take a slot and `/augment` as given, or park."""
        if self._runner.cache.free_slots == 0:
            request.prompt_kv = prompt_kv
            request.state = State.PARKED
            self._parked.append(request)
            return
        request.slot = self._runner.cache.allocate(prompt_kv)
        request.prompt_kv = None
        request.next_token = self._runner.routes.augment_id
        request.state = State.DECODING
        request.answering_since = time.monotonic()
        self._decoding.append(request)

    def _start_parked(self) -> None:
        """Give free slots to the parked, except those that are for forced augmentations queued earlier."""
        while self._parked:
            request = self._parked[0]
            if self._runner.cache.free_slots <= self._scheduler.forced_before(request):
                return
            self._parked.popleft()
            request.state = State.PREFILL
            with self._failing_alone(request):
                if request.prompt_kv is not None:
                    self._begin_augmentation(request, request.prompt_kv)

    def _decode(self, batch: Sequence[Request]) -> None:
        """One token for every augmentation; those that were fed EOS are finished."""
        started = time.monotonic()
        results = self._forward(batch, self._runner.decode)
        self._observe_step("decode", len(batch), started)
        for request, result in results:
            with self._failing_alone(request):
                self._take_token(request, result)

    def _take_token(self, request: Request, result: Decoded) -> None:
        eos = self._runner.routes.eos_id
        if result.vector is not None:
            self._finish(request, result.vector)
        elif result.token == eos or len(request.answer) >= request.max_augment_tokens:
            request.next_token = eos  # written by the model, or forced when the budget is spent
        else:
            request.answer.append(result.token)
            request.next_token = result.token

    @contextmanager
    def _failing_alone(self, request: Request) -> Iterator[None]:
        """What goes wrong after a pass (no memory for a copy, say) fails this request, not the engine."""
        try:
            yield
        except Exception as error:
            _log.exception("A request failed after its forward pass.")
            self._fail(request, error)

    def _finish(self, request: Request, vector: Vector) -> None:
        text = None
        if request.route is Route.AUGMENT:
            text = self._tokenizer.decode(request.answer, skip_special_tokens=True).strip()
        embedding = request.embedding(vector, text, time.monotonic())
        self._cache.put(request.cache_key(), embedding)
        self._scheduler.ended(request, time.monotonic() - request.admitted)
        self._release(request)
        if request.future.set_running_or_notify_cancel():
            request.future.set_result(embedding)

    def _fail(self, request: Request, error: Exception) -> None:
        self._release(request)
        if request.future.set_running_or_notify_cancel():
            request.future.set_exception(error)

    def _release(self, request: Request) -> None:
        """Give back whatever the request holds."""
        if request.state is State.PARKED:
            self._parked.remove(request)
        if request.state is State.DECODING:
            self._decoding.remove(request)
            self._runner.cache.free(request.slot)
        if request is self._long:
            self._long = None
        request.state = State.DONE
        request.prompt_kv = request.image = request.long_prompt = None

    def _observe_admission(self, waited: float) -> None:
        self._observe(lambda observer: observer.on_admitted(waited))

    def _observe_step(self, phase: str, batch_size: int, started: float) -> None:
        seconds = time.monotonic() - started
        self._observe(lambda observer: observer.on_step(phase, batch_size, seconds))

    def _observe(self, call: Callable[[EngineObserver], None]) -> None:
        """Tell the observer; its failures are its own and must not fail a request."""
        if self._observer is None:
            return
        try:
            call(self._observer)
        except Exception:
            _log.exception("The engine's observer failed.")


def _describe(loaded: LoadedModel, runner: Runner, settings: EngineSettings) -> EngineInfo:
    longest = settings.longest_augmentation(loaded.max_augment_tokens)
    return EngineInfo(
        model=loaded.name,
        base_model=loaded.base,
        base_revision=loaded.revision,
        dimensions=runner.decoder.hidden_size,
        max_prompt_tokens=loaded.max_prompt_tokens,
        max_augment_tokens=min(loaded.max_augment_tokens, longest),
        longest_augmentation=longest,
        augment_threshold=loaded.threshold,
        pooling=loaded.pooling,
        device=str(runner.device),
        dtype=str(runner.dtype).removeprefix("torch."),
        decoding=runner.decoder.decoding,
        checkpoint_sha256=loaded.checkpoint_sha256,
    )
