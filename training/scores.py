"""From what each query came to, to the figures of a dataset: P@1, CF, share of `/embed`, tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model.types import Route, RouteChoice
from training.intervals import Floats, dataset_mean, wilson

Flags = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]

TIE = 1e-12  # of two similarities; one vector compared twice may differ by the order of its summands


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """What each of one dataset's N queries came to under the forced routes; every array is [N].

    `candidates`: how many the query chose from. `wanted`: built or labelled to be augmented. `probability`:
    P(/augment). `margins`: by route, the right candidate's cosine similarity minus the best other one's;
    2 or more where there was no other. `tokens`: what the answer took when `/augment` was forced.
    """

    dataset: str
    candidates: Integers
    wanted: Flags
    probability: Floats
    margins: Mapping[Route, Floats]
    tokens: Integers

    def hits(self, route: Route) -> Flags:
        """Whether the right candidate is nearer than every other; one that is as near makes it a miss."""
        return self.margins[route] > TIE

    def augmented(self, choice: RouteChoice, threshold: float) -> Flags:
        """Which queries take `/augment`: P(/augment) at the threshold or above, as in the engine."""
        if choice is RouteChoice.AUTO:
            return self.probability >= threshold
        return np.full(len(self.wanted), choice is RouteChoice.AUGMENT)

    def routed_hits(self, choice: RouteChoice, threshold: float) -> Flags:
        """Which queries find their target under a route choice."""
        if choice is not RouteChoice.AUTO:
            return self.hits(Route(choice.value))
        augmented = self.augmented(choice, threshold)
        return np.where(augmented, self.hits(Route.AUGMENT), self.hits(Route.EMBED))

    def confidence(self, choice: RouteChoice, threshold: float) -> Floats:
        """The probability of the route taken, query by query (CF is its mean)."""
        augmented = self.augmented(choice, threshold)
        return np.where(augmented, self.probability, 1 - self.probability)

    def right_routes(self, threshold: float) -> Flags:
        """Which queries take the route that they were built or labelled for."""
        return self.augmented(RouteChoice.AUTO, threshold) == self.wanted


@dataclass(frozen=True, slots=True)
class Score:
    """One dataset, or a mean over several, under one route choice.

    `low` and `high` bound P@1 at 95 %: Wilson's interval for one dataset, a bootstrap over the queries of
    each for several. `candidates` is the median over queries. `route_accuracy` compares the routes taken
    with the ones that the queries were built for (None where the route was forced).
    """

    dataset: str
    route: str
    queries: int
    candidates: int
    precision_at_1: float
    low: float | None
    high: float | None
    confidence: float
    embed_share: float
    route_accuracy: float | None
    augment_tokens: float


def score_outcomes(outcomes: Outcomes, choice: RouteChoice, threshold: float) -> Score:
    """One dataset's score under one route choice."""
    hits = outcomes.routed_hits(choice, threshold)
    augmented = outcomes.augmented(choice, threshold)
    precision = wilson(int(hits.sum()), len(hits))
    automatic = choice is RouteChoice.AUTO
    return Score(
        dataset=outcomes.dataset,
        route=choice.value,
        queries=len(hits),
        candidates=int(np.median(outcomes.candidates)),
        precision_at_1=precision.mean,
        low=precision.low,
        high=precision.high,
        confidence=float(outcomes.confidence(choice, threshold).mean()),
        embed_share=float((~augmented).mean()),
        route_accuracy=float(outcomes.right_routes(threshold).mean()) if automatic else None,
        augment_tokens=float(np.where(augmented, outcomes.tokens, 0).mean()),
    )


def mean_score(name: str, group: Sequence[Outcomes], choice: RouteChoice, threshold: float) -> Score:
    """The mean of several datasets' scores, each dataset counting the same, as MMEB averages."""
    scores = [score_outcomes(outcomes, choice, threshold) for outcomes in group]
    precision = dataset_mean([outcomes.routed_hits(choice, threshold).astype(float) for outcomes in group])
    rights = [score.route_accuracy for score in scores if score.route_accuracy is not None]
    return Score(
        dataset=name,
        route=choice.value,
        queries=sum(score.queries for score in scores),
        candidates=int(np.median(np.concatenate([outcomes.candidates for outcomes in group]))),
        precision_at_1=precision.mean,
        low=precision.low,
        high=precision.high,
        confidence=_mean([score.confidence for score in scores]),
        embed_share=_mean([score.embed_share for score in scores]),
        route_accuracy=_mean(rights) if rights else None,
        augment_tokens=_mean([score.augment_tokens for score in scores]),
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def summary(scores: Sequence[Score]) -> dict[str, dict[str, Any]]:
    """Scores as a manifest stores them: by dataset, then by route choice, rounded to four places."""
    table: dict[str, dict[str, Any]] = {}
    for score in scores:
        figures = {
            key: round(value, 4) if isinstance(value, float) else value
            for key, value in asdict(score).items()
            if key not in ("dataset", "route") and value is not None
        }
        table.setdefault(score.dataset, {})[score.route] = figures
    return table
