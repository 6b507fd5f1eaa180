"""NoAug against AlwaysAug, query by query on the same candidates, with paired intervals.

NoAug is measured with `/embed` forced and AlwaysAug with `/augment` forced, each on its own documents'
vectors: what either would do if it were the one that is served.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.types import Route
from training.evaluation import measure
from training.intervals import dataset_mean
from training.mmeb import EvaluationRow
from training.remembered import Embeds

Hits = npt.NDArray[np.float64]  # [N], 1 where a query's right candidate came first


@dataclass(frozen=True, slots=True)
class PairedGain:
    """AlwaysAug's P@1 minus NoAug's, and its 95 % paired bootstrap interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """One dataset under both models: P@1 each, and the gain of always augmenting."""

    dataset: str
    queries: int
    no_aug: float
    always_aug: float
    gain: PairedGain


def forced_hits(
    engine: Embeds, route: Route, rows: Mapping[str, list[EvaluationRow]], image_root: Path
) -> dict[str, Hits]:
    """Which queries of each subset find their target under one forced route.

    Raises ValueError for a subset without queries.
    """
    measured = measure(engine, dict(rows), image_root, (route,))
    return {outcomes.dataset: outcomes.hits(route).astype(np.float64) for outcomes in measured}


def paired_gain(
    no_aug: Sequence[Hits], always_aug: Sequence[Hits], resamples: int, seed: int = 0
) -> PairedGain:
    """The mean over datasets of AlwaysAug's P@1 minus NoAug's, with a 95 % paired bootstrap interval.

    Differences are taken query by query and the queries drawn again within each dataset, so what makes a
    query hard for both models cancels. Raises ValueError unless both hold the same queries.
    """
    if len(no_aug) != len(always_aug) or any(
        len(first) != len(second) for first, second in zip(no_aug, always_aug, strict=True)
    ):
        raise ValueError("A paired comparison needs both models' outcomes on the same queries.")
    differences = [second - first for first, second in zip(no_aug, always_aug, strict=True)]
    found = dataset_mean(differences, resamples, seed)
    low, high = (found.mean if bound is None else bound for bound in (found.low, found.high))
    return PairedGain(found.mean, low, high)


def compare(
    no_aug: Mapping[str, Hits], always_aug: Mapping[str, Hits], resamples: int, seed: int = 0
) -> tuple[list[Comparison], Comparison]:
    """Every dataset's comparison, and that of their mean (every dataset counts the same, as in MMEB).

    Raises ValueError when the two hold different datasets or queries.
    """
    if no_aug.keys() != always_aug.keys():
        raise ValueError(f"The models were measured on different datasets: {set(no_aug) ^ set(always_aug)}.")
    names = sorted(no_aug)
    compared = [_compared(name, [no_aug[name]], [always_aug[name]], resamples, seed) for name in names]
    first, second = ([hits[name] for name in names] for hits in (no_aug, always_aug))
    return compared, _compared("mean", first, second, resamples, seed)


def _compared(
    name: str, no_aug: Sequence[Hits], always_aug: Sequence[Hits], resamples: int, seed: int
) -> Comparison:
    return Comparison(
        dataset=name,
        queries=sum(map(len, no_aug)),
        no_aug=float(np.mean([hits.mean() for hits in no_aug])),
        always_aug=float(np.mean([hits.mean() for hits in always_aug])),
        gain=paired_gain(no_aug, always_aug, resamples, seed),
    )
