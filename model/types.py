"""The vocabulary of the engine's callers: items, options, embeddings and the engine's contract."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]


class InputType(StrEnum):
    """Which side of retrieval an item stands on; only queries are routed."""

    QUERY = "query"
    DOCUMENT = "document"


class Route(StrEnum):
    """The decision that the model's first token states."""

    EMBED = "embed"
    AUGMENT = "augment"


class RouteChoice(StrEnum):
    """Who decides: the model (auto) or the caller (embed, augment)."""

    AUTO = "auto"
    EMBED = "embed"
    AUGMENT = "augment"


@dataclass(frozen=True, slots=True)
class Item:
    """What is embedded: a text, an encoded image (JPEG, PNG, WebP, GIF bytes), or both."""

    text: str | None = None
    image: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class EmbedOptions:
    """How an item is embedded.

    `augment_threshold` is compared with P(/augment): at or above it a query is augmented. None means
    the engine's default, which the checkpoint calibrates. `max_augment_tokens` bounds the written
    answer (None: the engine's default). With `truncate` an over-long text is cut instead of refused.
    A lower `priority` value runs first.
    """

    input_type: InputType = InputType.QUERY
    instruction: str | None = None
    route: RouteChoice = RouteChoice.AUTO
    augment_threshold: float | None = None
    max_augment_tokens: int | None = None
    truncate: bool = False
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Embedding:
    """A finished item.

    `vector` is [D] float32 of unit length. `route`, `confidence` (the probability of the chosen route
    over the two route tokens) and `decision` are None for documents. A forced route still reports the
    model's own confidence in it.
    """

    vector: Vector
    route: Route | None
    decision: str | None  # "auto" or "forced"
    confidence: float | None
    augmentation: str | None
    prompt_tokens: int  # image tokens included
    image_tokens: int
    augment_tokens: int
    queue_seconds: float
    compute_seconds: float
    augment_seconds: float  # of these, what came after the single pass: what another route had saved


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What a caller may know of a loaded engine."""

    model: str
    base_model: str
    base_revision: str
    dimensions: int
    max_prompt_tokens: int
    max_augment_tokens: int  # of an answer whose request says nothing
    longest_augmentation: int  # that a request may ask for
    augment_threshold: float
    pooling: str
    device: str
    dtype: str
    decoding: str  # what computes an answer's tokens: "avx2 int8" and the like are the compiled kernels
    checkpoint_sha256: str


class EngineObserver(Protocol):
    """Receives what the engine does, for metrics; called from the engine's own thread."""

    def on_step(self, phase: str, batch_size: int, seconds: float) -> None:
        """One forward pass ended; `phase` is "prefill" or "decode"."""

    def on_admitted(self, queue_seconds: float) -> None:
        """A request left the queue and its prefill begins."""


class Embedder(Protocol):
    """What the service needs of an engine; `model.engine.Engine` is the implementation."""

    @property
    def info(self) -> EngineInfo:
        """The loaded model's name, dimensions and limits."""

    @property
    def queue_depth(self) -> int:
        """Requests accepted and not yet running."""

    def expected_seconds(self, options: EmbedOptions) -> float:
        """Seconds that an item with these options would take, if all goes on as lately; 0 if none waits."""

    @property
    def alive(self) -> bool:
        """Whether the engine's thread can still answer."""

    def submit(self, item: Item, options: EmbedOptions, deadline: float | None = None) -> Future[Embedding]:
        """Prepare an item on the caller's thread and queue it.

        `deadline` is a `time.monotonic()` instant; past it the future fails with `DeadlineExceeded`.
        Cancelling the future frees its slot. Raises `InputError` for an item that cannot be embedded,
        `QueueFull` when the bounded queue is full and `EngineStopped` after `close`.
        """

    def embed(self, items: Sequence[Item], options: EmbedOptions) -> list[Embedding]:
        """Submit all items, wait, and return their embeddings in order (offline use)."""

    def close(self) -> None:
        """Stop the thread; what is queued fails with `EngineStopped`."""
