"""Whether the confidence in a route is worth what it says: of the queries routed with 0.9, are 90 % right?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.intervals import Floats
from training.scores import Flags

BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Queries whose confidence lies from `low` to `high`: how many, how sure on average, how many right."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """Bins that hold queries, and the expected calibration error (Guo et al. 2017, arXiv 1706.04599)."""

    ece: float
    bins: list[Bin]


def reliability(confidence: Floats, right: Flags, bins: int = BINS) -> Reliability:
    """Bin confidences [N] in equal widths over 0 to 1 and compare each bin's mean with its share of right.

    ECE is the bins' absolute differences, weighted by their queries. Raises ValueError without queries.
    """
    if len(confidence) == 0:
        raise ValueError("A calibration plot needs queries.")
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.digitize(confidence, edges[1:-1]), 0, bins - 1)
    filled = [
        Bin(
            low=float(edges[number]),
            high=float(edges[number + 1]),
            count=int((place == number).sum()),
            confidence=float(confidence[place == number].mean()),
            accuracy=float(right[place == number].mean()),
        )
        for number in range(bins)
        if (place == number).any()
    ]
    error = sum(one.count * abs(one.accuracy - one.confidence) for one in filled) / len(confidence)
    return Reliability(ece=float(error), bins=filled)
