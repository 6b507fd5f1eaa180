"""The threshold on P(/augment), chosen on held-out queries by one of two rules, and the curve it lies on.

`routes` (the default): most queries take the route that they were built or labelled for. Every query counts,
so a few hundred fix it, and the share of augmented queries stays what the labels say: latency is predictable.

`quality`: Precision@1 minus a price for every augmentation. It asks for what is wanted, but only the queries
that one route finds and the other misses have a say, often fewer than one in ten: on a small split it follows
their noise. Use it with thousands of calibration queries, or where augmenting is dear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from model.types import Route
from training.intervals import Floats
from training.scores import Outcomes

PRICE = 0.01  # an augmentation has to be worth a hundredth of a hit
_EQUAL = 1e-9  # benefits are sums of a few thousand fractions; closer ones are equal


class Rule(StrEnum):
    """What a calibrated threshold makes as good as it can be."""

    ROUTES = "routes"
    QUALITY = "quality"


@dataclass(frozen=True, slots=True)
class Calibration:
    """Both rules' thresholds from the same calibration queries, and the one that was taken."""

    rule: Rule
    price: float
    queries: int
    by_routes: float
    by_quality: float

    @property
    def threshold(self) -> float:
        """The threshold of the rule that was taken."""
        return self.by_routes if self.rule is Rule.ROUTES else self.by_quality


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Every threshold that routes differently, ascending; each array is [T].

    `precision` and `augmented` (the share of queries) are means over datasets, each counting the same;
    `tokens` is the mean number of augmentation tokens a query, likewise.
    """

    thresholds: Floats
    precision: Floats
    augmented: Floats
    tokens: Floats

    def at(self, threshold: float) -> int:
        """The point whose routes are those of any `threshold` between 0 and 1."""
        # A query is augmented from the threshold on, so the next larger distinct value routes alike.
        return min(int(np.searchsorted(self.thresholds, threshold)), len(self.thresholds) - 1)


def best_threshold(probabilities: Sequence[float], wants_augmentation: Sequence[bool]) -> float:
    """The threshold with the most right routes; the middle of the widest gap among equals.

    A query is augmented from the threshold on, it included. `probabilities` are P(/augment) by query.
    Raises ValueError when one kind of query is missing.
    """
    values, wanted = np.asarray(probabilities, float), np.asarray(wants_augmentation, bool)
    if wanted.all() or not wanted.any():
        raise ValueError("Calibration needs queries of both kinds: some to augment and some to embed.")
    return _most_beneficial(values, np.where(wanted, 1.0, -1.0))


def quality_threshold(outcomes: Sequence[Outcomes], price: float = PRICE) -> float:
    """The threshold with the highest P@1 less `price` for each augmentation (in hits a query).

    P@1 and augmentations are means over datasets. Raises ValueError without queries or for a price below 0.
    """
    if price < 0:
        raise ValueError(f"The price of an augmentation must not be negative, not {price}.")
    probability, gain, weight, _ = _pooled(outcomes)
    # In units of one query, so that the tolerance among equals does not depend on how many there are.
    return _most_beneficial(probability, (gain - price) * weight * len(weight))


def calibrate(outcomes: Sequence[Outcomes], rule: Rule = Rule.ROUTES, price: float = PRICE) -> Calibration:
    """Both thresholds from the calibration split's outcomes. Raises ValueError, see the two rules."""
    probability = np.concatenate([one.probability for one in outcomes])
    wanted = np.concatenate([one.wanted for one in outcomes])
    return Calibration(
        rule=rule,
        price=price,
        queries=len(probability),
        by_routes=best_threshold(probability.tolist(), wanted.tolist()),
        by_quality=quality_threshold(outcomes, price),
    )


def sweep(outcomes: Sequence[Outcomes]) -> Curve:
    """P@1, share augmented and tokens at every threshold that matters, from vectors already computed."""
    probability, gain, weight, tokens = _pooled(outcomes)
    order = np.argsort(probability, kind="stable")
    values = probability[order]
    # Before the first query everything is augmented; a threshold above the last one augments nothing.
    starts = np.flatnonzero(np.diff(values, prepend=-1.0) > 0)
    cuts = np.append(starts, len(values))
    thresholds = np.append(values[starts], np.nextafter(values[-1], 2.0))
    embedded = np.mean([one.hits(Route.EMBED).mean() for one in outcomes])

    def above(amounts: Floats) -> Floats:
        return np.append(np.cumsum(amounts[order][::-1])[::-1], 0.0)[cuts]

    return Curve(thresholds, embedded + above(gain * weight), above(weight), above(tokens * weight))


def oracle_precision(outcomes: Sequence[Outcomes]) -> float:
    """P@1 if every query took whichever route finds its target: what no router can exceed."""
    return float(np.mean([(one.hits(Route.EMBED) | one.hits(Route.AUGMENT)).mean() for one in outcomes]))


def _pooled(outcomes: Sequence[Outcomes]) -> tuple[Floats, Floats, Floats, Floats]:
    """P(/augment), the hits gained by augmenting (-1, 0 or 1), weight and tokens of all datasets' queries."""
    if not outcomes:
        raise ValueError("There are no queries to choose a threshold by.")
    probability = np.concatenate([one.probability for one in outcomes])
    gain = [one.hits(Route.AUGMENT).astype(float) - one.hits(Route.EMBED) for one in outcomes]
    weight = [np.full(len(one.wanted), 1 / (len(one.wanted) * len(outcomes))) for one in outcomes]
    tokens = [one.tokens.astype(float) for one in outcomes]
    return probability, np.concatenate(gain), np.concatenate(weight), np.concatenate(tokens)


def _most_beneficial(values: Floats, benefit: Floats) -> float:
    """The threshold above which `benefit` adds up to most; the middle of the widest gap among equals.

    `benefit` [N] says by how much augmenting a query is better than embedding it.
    """
    order = np.argsort(values, kind="stable")
    values, benefit = values[order], benefit[order]
    edges: npt.NDArray[np.float64] = np.concatenate([[0.0], values, [1.0]])
    # A threshold inside gap i (between edges i and i + 1) embeds the first i queries, augments the rest.
    # Equal probabilities have no gap between them; only below the first is the edge itself a threshold.
    total = np.append(np.cumsum(benefit[::-1])[::-1], 0.0)
    gaps = np.diff(edges)
    possible = gaps > 0
    possible[0] = True
    candidates = np.flatnonzero(possible & (total >= total[possible].max() - _EQUAL))
    best = candidates[np.argmax(gaps[candidates])]
    middle = (edges[best] + edges[best + 1]) / 2
    return float(middle if middle > edges[best] else edges[best + 1])
