"""Intervals of what an evaluation measures: one share, a mean over datasets, a mean over seeds.

All are two-sided at 95 %. The mean over datasets is MMEB's own: every dataset counts the same, however many
queries it has, so its bootstrap draws queries again within each dataset.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

NORMAL = 1.959963984540054  # the 97.5 % quantile
RESAMPLES = 4000
# 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom; beyond them the normal one is close.
_STUDENT = (
    *(12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281),
    *(2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860),
)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95 % interval; the bounds are None where a single observation gives none."""

    mean: float
    low: float | None
    high: float | None


def wilson(successes: int, trials: int) -> Estimate:
    """A share and Wilson's score interval (Wilson 1927), which stays within 0 to 1 for small samples.

    Raises ValueError without trials.
    """
    if trials < 1:
        raise ValueError("A share needs at least one trial.")
    share, z = successes / trials, NORMAL
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    # At 0 and at 1 one bound is the share itself, but for rounding.
    return Estimate(share, min(max(0.0, centre - half), share), max(min(1.0, centre + half), share))


def dataset_mean(groups: Sequence[Floats], resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """The mean of the datasets' means and its percentile bootstrap over each dataset's queries.

    `groups` holds one array of values a dataset, [N] each. For a paired comparison give the differences
    query by query. Raises ValueError without datasets or for an empty one.
    """
    if not groups or any(len(values) == 0 for values in groups):
        raise ValueError("A mean over datasets needs at least one dataset, and queries in each.")
    random = np.random.default_rng(seed)
    total = np.zeros(resamples)
    for values in groups:
        # Drawing N values with replacement is drawing how often each distinct value comes up.
        distinct, counts = np.unique(values, return_counts=True)
        drawn = random.multinomial(len(values), counts / len(values), size=resamples)
        total += drawn @ distinct / len(values)
    low, high = np.quantile(total / len(groups), (0.025, 0.975))
    return Estimate(float(np.mean([values.mean() for values in groups])), float(low), float(high))


def seed_mean(values: Sequence[float]) -> Estimate:
    """The mean over runs (seeds, repetitions) with Student's interval; no bounds for a single run.

    Raises ValueError without values.
    """
    if not values:
        raise ValueError("A mean over runs needs at least one run.")
    mean = float(np.mean(values))
    if len(values) == 1:
        return Estimate(mean, None, None)
    freedom = len(values) - 1
    quantile = _STUDENT[freedom - 1] if freedom <= len(_STUDENT) else NORMAL
    half = quantile * float(np.std(values, ddof=1)) / sqrt(len(values))
    return Estimate(mean, mean - half, mean + half)
