"""What routing costs in time: the same queries by all three route choices, on one engine, in one run.

Two shapes of load: one query at a time, as a person sends it, and full batches, as a corpus of queries does.
Within a repetition the routes follow one another in rotating order, so that a machine that slows down slows
all of them. Images are encoded anew every time: the engine must have been started without a vision cache.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from model.types import Embedding, EmbedOptions, Item, Route, RouteChoice
from training.intervals import Estimate, seed_mean
from training.remembered import Embeds

SINGLE, BATCHED = "single", "batched"


@dataclass(frozen=True, slots=True)
class LatencySettings:
    """How much is measured: `queries` spread evenly over the datasets, each `repetitions` times a route."""

    queries: int = 64
    repetitions: int = 3
    warm_up: int = 4
    batch_size: int = 16

    def __post_init__(self) -> None:
        for name in ("queries", "repetitions", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}.")


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds a query under one shape of load; intervals are over the repetitions.

    `adaptive_to_always` is adaptive over always augmenting (the paper: about 0.5). `extra_share` is the time
    that adaptive routing adds to never augmenting, over what always augmenting adds; `augmented_share` are
    the queries it augments. Their quotient `overhead` is 1 where routing itself costs nothing. None: always
    augmenting took no longer than never augmenting, or adaptive routing augmented nothing.
    """

    shape: str
    queries: int
    repetitions: int
    seconds: dict[str, Estimate]
    adaptive_to_always: Estimate
    augmented_share: float
    extra_share: Estimate | None
    overhead: Estimate | None


def spread(items: Sequence[Sequence[Item]], count: int) -> list[Item]:
    """`count` items taken in turn from each dataset, fewer where there are not so many."""
    longest = max((len(dataset) for dataset in items), default=0)
    turns = (dataset[n] for n in range(longest) for dataset in items if n < len(dataset))
    return [item for item, _ in zip(turns, range(count), strict=False)]


def measure_latency(
    engine: Embeds,
    items: Sequence[Item],
    threshold: float,
    settings: LatencySettings,
    report: Callable[[int], None] = lambda count: None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Latency]:
    """Time the items one by one and in batches. `report` hears how many queries each timed call held.

    Raises ValueError without items.
    """
    if not items:
        raise ValueError("There are no queries to measure latency with.")
    measured = []
    for shape, size in ((SINGLE, 1), (BATCHED, settings.batch_size)):
        batches = [items[start : start + size] for start in range(0, len(items), size)]
        for choice in RouteChoice:
            for batch in batches[: settings.warm_up]:
                engine.embed(batch, _options(choice, threshold))
        seconds: dict[RouteChoice, list[float]] = {choice: [] for choice in RouteChoice}
        augmented = 0
        for repetition in range(settings.repetitions):
            for choice in _rotated(repetition):
                began = clock()
                embedded = _run(engine, batches, _options(choice, threshold), report)
                seconds[choice].append((clock() - began) / len(items))
                if choice is RouteChoice.AUTO:
                    augmented += sum(embedding.route is Route.AUGMENT for embedding in embedded)
        share = augmented / (len(items) * settings.repetitions)
        measured.append(_summarise(shape, len(items), seconds, share))
    return measured


def _run(
    engine: Embeds, batches: Sequence[Sequence[Item]], options: EmbedOptions, report: Callable[[int], None]
) -> list[Embedding]:
    embedded: list[Embedding] = []
    for batch in batches:
        embedded += engine.embed(batch, options)
        report(len(batch))
    return embedded


def _options(choice: RouteChoice, threshold: float) -> EmbedOptions:
    return EmbedOptions(route=choice, augment_threshold=threshold, truncate=True)


def _rotated(repetition: int) -> list[RouteChoice]:
    choices = list(RouteChoice)
    first = repetition % len(choices)
    return choices[first:] + choices[:first]


def _summarise(
    shape: str, queries: int, seconds: dict[RouteChoice, list[float]], augmented_share: float
) -> Latency:
    adaptive, never, always = (
        np.array(seconds[choice]) for choice in (RouteChoice.AUTO, RouteChoice.EMBED, RouteChoice.AUGMENT)
    )
    extra = None
    if (always > never).all():
        extra = (adaptive - never) / (always - never)
    overhead = None if extra is None or augmented_share == 0 else extra / augmented_share
    return Latency(
        shape=shape,
        queries=queries,
        repetitions=len(adaptive),
        seconds={choice.value: seed_mean(values) for choice, values in seconds.items()},
        adaptive_to_always=seed_mean((adaptive / always).tolist()),
        augmented_share=augmented_share,
        extra_share=None if extra is None else seed_mean(extra.tolist()),
        overhead=None if overhead is None else seed_mean(overhead.tolist()),
    )
