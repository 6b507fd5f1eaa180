"""One request's state, from submission to its vector."""

from __future__ import annotations

from collections.abc import Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum

from torch import Tensor

from model.images import PreparedImage
from model.rope import ImageSpan
from model.types import Embedding, InputType, Route, RouteChoice, Vector


class State(StrEnum):
    """Where a request stands.

    WAITING in the queue -> PREFILL -> DONE, or, if it is augmented, PREFILL -> PARKED until a slot of
    the KV cache is free -> DECODING -> DONE. Failure, cancellation and deadlines lead to DONE too.
    """

    WAITING = "waiting"
    PREFILL = "prefill"
    PARKED = "parked"
    DECODING = "decoding"
    DONE = "done"


@dataclass(eq=False, slots=True)
class LongPrompt:
    """A prompt that is prefilled in parts: its inputs, and its keys and values so far.

    `hidden` is `[L, H]` float32, `positions` `[3, L]`, `states` `[layers, 2, kv_heads, L, head_dim]`;
    `done` of the L tokens are in `states`, and a part is at most `part` tokens.
    """

    hidden: Tensor
    positions: Tensor
    states: Tensor
    part: int
    done: int = 0

    @property
    def length(self) -> int:
        """All its tokens."""
        return len(self.hidden)

    @property
    def next_end(self) -> int:
        """Where the next part ends."""
        return min(self.done + self.part, self.length)


@dataclass(eq=False, slots=True)
class Request:
    """An item that was prepared on its caller's thread, and what the engine has made of it so far.

    Times are `time.monotonic()` instants. `ids` is the prompt, without the tokens of the single pass.
    """

    ids: list[int]
    image: PreparedImage | None
    image_span: ImageSpan | None
    input_type: InputType
    choice: RouteChoice
    threshold: float
    max_augment_tokens: int
    priority: int
    deadline: float | None
    submitted: float
    future: Future[Embedding] = field(default_factory=Future)
    state: State = State.WAITING
    admitted: float = 0.0
    augment_probability: float | None = None
    route: Route | None = None
    prompt_kv: Tensor | None = None  # while parked: [layers, 2, kv_heads, P, head_dim]
    long_prompt: LongPrompt | None = None  # while prefilled in parts
    slot: int = -1  # while decoding
    next_token: int = -1  # while decoding: what is fed next
    answering_since: float | None = None  # when it got its slot
    answer: list[int] = field(default_factory=list)

    @property
    def is_query(self) -> bool:
        """Whether the request takes a route at all."""
        return self.input_type is InputType.QUERY

    @property
    def may_augment(self) -> bool:
        """Whether its prompt's keys and values may be needed after the prefill."""
        return self.is_query and self.choice is not RouteChoice.EMBED

    @property
    def forced_to_augment(self) -> bool:
        """Whether it is known beforehand to need a slot of the KV cache."""
        return self.is_query and self.choice is RouteChoice.AUGMENT

    @property
    def prefill_length(self) -> int:
        """Tokens that its prefill feeds: a query's prompt is followed by `/embed` and EOS."""
        return len(self.ids) + (2 if self.is_query else 0)

    @property
    def rope_delta(self) -> int:
        """Rotary position minus index, for tokens after the prompt."""
        return self.image_span.delta if self.image_span else 0

    def cache_key(self) -> Hashable:
        """All that its embedding depends on."""
        image = self.image.sha256 if self.image else None
        options = (self.input_type, self.choice, self.threshold, self.max_augment_tokens)
        return (tuple(self.ids), image, *options)

    def expired(self, now: float) -> bool:
        """Whether its deadline has passed."""
        return self.deadline is not None and now >= self.deadline

    def choose_route(self) -> Route:
        """The route, by the caller's word or by P(/augment) against the threshold."""
        if self.choice is not RouteChoice.AUTO:
            return Route(self.choice.value)
        if self.augment_probability is None:
            raise ValueError("The route is chosen after the prefill has given P(/augment).")
        return Route.AUGMENT if self.augment_probability >= self.threshold else Route.EMBED

    def confidence(self) -> float | None:
        """The probability of the route taken, over the two route tokens; None for documents."""
        if self.route is None or self.augment_probability is None:
            return None
        p = self.augment_probability
        return p if self.route is Route.AUGMENT else 1.0 - p

    def embedding(self, vector: Vector, answer_text: str | None, now: float) -> Embedding:
        """The finished result."""
        decision = None
        if self.is_query:
            decision = "auto" if self.choice is RouteChoice.AUTO else "forced"
        return Embedding(
            vector=vector,
            route=self.route,
            decision=decision,
            confidence=self.confidence(),
            augmentation=answer_text,
            prompt_tokens=len(self.ids),
            image_tokens=self.image_span.count if self.image_span else 0,
            augment_tokens=len(self.answer),
            queue_seconds=self.admitted - self.submitted,
            compute_seconds=now - self.admitted,
            augment_seconds=0.0 if self.answering_since is None else now - self.answering_since,
        )
