"""Checkpoints and route choices against one another, paired query by query and seed by seed.

Two intervals stand side by side, because they answer different questions. Over the queries (a bootstrap of
paired differences within each dataset): would other queries of these datasets agree? Over the seeds
(Student's t): would another training run agree?
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model.types import RouteChoice
from training.catalogue import IN_DOMAIN, OUT_OF_DOMAIN, UNKNOWN, DatasetFacts
from training.intervals import Estimate, Floats, dataset_mean, seed_mean
from training.scores import Outcomes
from training.scoring import Evaluated

Hits = dict[str, Floats]  # by dataset: [N], the share of seeds whose vector found the query's target


@dataclass(frozen=True, slots=True)
class Scope:
    """Datasets that are averaged together: all, one domain, or one meta-task."""

    kind: str
    name: str
    datasets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """One label's checkpoints under one route choice: means over seeds of means over datasets."""

    name: str
    route: str
    seeds: list[int | None]
    by_seed: list[float]
    over_seeds: Estimate
    over_queries: Estimate
    embed_share: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Difference:
    """P@1 of `first` minus that of `second` in one scope.

    `over_seeds` is None unless both have at least two seeds in common.
    """

    first: str
    second: str
    scope: str
    over_queries: Estimate
    over_seeds: Estimate | None


@dataclass(frozen=True, slots=True)
class Variant:
    """Checkpoints of one label (one a seed) under one route choice."""

    name: str
    choice: RouteChoice
    runs: Sequence[Evaluated]

    def hits(self) -> Hits:
        """The mean over seeds of every query's hits, by dataset."""
        by_run = [_hits(run, self.choice) for run in self.runs]
        return {name: np.mean([hits[name] for hits in by_run], axis=0) for name in by_run[0]}


def scopes(datasets: Sequence[str], catalogue: Mapping[str, DatasetFacts]) -> list[Scope]:
    """All datasets together, then by domain and by meta-task as far as the catalogue knows them."""
    found = [Scope("overall", "all datasets", tuple(datasets))]
    facts = {name: catalogue.get(name, DatasetFacts()) for name in datasets}

    def named(kind: str, names: Sequence[str], of: Callable[[DatasetFacts], str]) -> list[Scope]:
        members = {name: tuple(d for d in datasets if of(facts[d]) == name) for name in names}
        return [Scope(kind, name, group) for name, group in members.items() if group]

    found += named("domain", (IN_DOMAIN, OUT_OF_DOMAIN), lambda entry: entry.domain)
    tasks = sorted({entry.meta_task for entry in facts.values()} - {UNKNOWN})
    return found + named("meta-task", tasks, lambda entry: entry.meta_task)


def variants(evaluated: Sequence[Evaluated]) -> list[Variant]:
    """Every label under its own route choice: what a comparison of checkpoints sets side by side."""
    labels = dict.fromkeys(one.candidate.label for one in evaluated)
    found = []
    for label in labels:
        runs = [one for one in evaluated if one.candidate.label == label]
        modes = {one.candidate.mode for one in runs}
        if len(modes) > 1:
            raise ValueError(f"The checkpoints labelled '{label}' differ in mode: give each mode its label.")
        found.append(Variant(label, runs[0].candidate.choices[0], runs))
    return found


def routes_of(run: Evaluated) -> list[Variant]:
    """One checkpoint under each route choice that it was measured under."""
    return [Variant(choice.value, choice, [run]) for choice in run.candidate.choices]


def group(variant: Variant) -> Group:
    """A variant's figures over all datasets."""
    by_seed = [
        float(np.mean([h.mean() for h in _hits(run, variant.choice).values()])) for run in variant.runs
    ]
    return Group(
        name=variant.name,
        route=variant.choice.value,
        seeds=[run.candidate.seed for run in variant.runs],
        by_seed=by_seed,
        over_seeds=seed_mean(by_seed),
        over_queries=dataset_mean(list(variant.hits().values())),
        embed_share=_mean_of(variant, lambda one, run: ~one.augmented(variant.choice, run.threshold)),
        confidence=_mean_of(variant, lambda one, run: one.confidence(variant.choice, run.threshold)),
    )


def differences(first: Variant, second: Variant, within: Sequence[Scope]) -> list[Difference]:
    """The paired difference of two variants in every scope.

    Raises ValueError where they were not measured on the same queries.
    """
    left, right = first.hits(), second.hits()
    if {name: len(hits) for name, hits in left.items()} != {name: len(hits) for name, hits in right.items()}:
        raise ValueError(f"{first.name} and {second.name} were not measured on the same queries.")
    return [
        Difference(
            first=first.name,
            second=second.name,
            scope=scope.name,
            over_queries=dataset_mean([left[name] - right[name] for name in scope.datasets]),
            over_seeds=_over_seeds(first, second, scope),
        )
        for scope in within
    ]


def _over_seeds(first: Variant, second: Variant, scope: Scope) -> Estimate | None:
    left, right = ({run.candidate.seed: run for run in variant.runs} for variant in (first, second))
    common = [seed for seed in left if seed is not None and seed in right]
    if len(common) < 2:
        return None
    return seed_mean(
        [_mean(left[s], first.choice, scope) - _mean(right[s], second.choice, scope) for s in common]
    )


def _mean(run: Evaluated, choice: RouteChoice, scope: Scope) -> float:
    hits = _hits(run, choice)
    return float(np.mean([hits[name].mean() for name in scope.datasets]))


def _mean_of(variant: Variant, of: Callable[[Outcomes, Evaluated], npt.NDArray[Any]]) -> float:
    return float(np.mean([of(one, run).mean() for run in variant.runs for one in run.outcomes]))


def _hits(run: Evaluated, choice: RouteChoice) -> Hits:
    return {one.dataset: one.routed_hits(choice, run.threshold).astype(float) for one in run.outcomes}
