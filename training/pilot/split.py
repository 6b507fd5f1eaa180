"""The split into D^E (embed) and D^A (augment), by a rule and a margin that are parameters.

The paper puts a dataset into D^E where NoAug is "better or comparable". It does not say what comparable is,
so the margin is ours to choose, and two rules stand beside it that ask the interval instead of the mean.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from model.types import Route
from training.pilot.comparison import Comparison, PairedGain
from training.scores import TIE

FORMAT_VERSION = 1


class Rule(StrEnum):
    """When a dataset's queries are augmented; `gain` is AlwaysAug's P@1 minus NoAug's.

    better-or-comparable (the paper's): the gain is above the margin. significant: even the low end of its
    interval is. unless-harmful: even the high end is not below minus the margin.
    """

    BETTER_OR_COMPARABLE = "better-or-comparable"
    SIGNIFICANT = "significant"
    UNLESS_HARMFUL = "unless-harmful"


@dataclass(frozen=True, slots=True)
class SplitRule:
    """A rule and its margin, in P@1 (0.01 is one point)."""

    rule: Rule = Rule.BETTER_OR_COMPARABLE
    margin: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.margin < 1:
            raise ValueError(f"margin is a difference of P@1: at least 0 and below 1, not {self.margin}.")

    def route(self, gain: PairedGain) -> Route:
        """The route that a dataset with this gain is to learn; a gain of just the margin is not above it."""
        augment = {
            Rule.BETTER_OR_COMPARABLE: gain.mean > self.margin + TIE,
            Rule.SIGNIFICANT: gain.low > self.margin + TIE,
            Rule.UNLESS_HARMFUL: gain.high >= -self.margin - TIE,
        }[self.rule]
        return Route.AUGMENT if augment else Route.EMBED


@dataclass(frozen=True, slots=True)
class Study:
    """A pilot study: the comparisons, from which any rule's split follows without measuring again.

    `trained` names the datasets that have training rows, which are the ones to be split. `facts` say which
    checkpoints and data were compared.
    """

    comparisons: list[Comparison]
    mean: Comparison
    trained: list[str]
    facts: dict[str, Any] = field(default_factory=dict)

    def routes(self, rule: SplitRule) -> dict[str, Route]:
        """The route of every dataset that was both trained on and compared."""
        return {one.dataset: rule.route(one.gain) for one in self.comparisons if one.dataset in self.trained}

    def not_compared(self) -> list[str]:
        """Datasets with training rows and no development queries: the study says nothing of them."""
        return sorted(set(self.trained) - {one.dataset for one in self.comparisons})


def study_json(study: Study, rule: SplitRule) -> dict[str, Any]:
    """What is written: comparisons, the split by `rule` as D^E and D^A, and what could not be decided."""
    routes = study.routes(rule)
    return {
        "format_version": FORMAT_VERSION,
        "rule": rule.rule.value,
        "margin": rule.margin,
        "D^E": _with_route(routes, Route.EMBED),
        "D^A": _with_route(routes, Route.AUGMENT),
        "not_compared": study.not_compared(),
        **asdict(study),
    }


def _with_route(routes: dict[str, Route], route: Route) -> list[str]:
    return sorted(name for name, found in routes.items() if found is route)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(value, indent=2) + "\n", "utf-8")
    partial.replace(path)


def read_study(path: Path) -> tuple[Study, SplitRule]:
    """A written study and the rule it was split by. Raises ValueError for any other file."""
    try:
        stored = json.loads(path.read_text("utf-8"))
        if stored["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format version {stored['format_version']}")
        comparisons = [_comparison(one) for one in stored["comparisons"]]
        study = Study(comparisons, _comparison(stored["mean"]), stored["trained"], stored["facts"])
        return study, SplitRule(Rule(stored["rule"]), stored["margin"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no pilot study ({error!r}); solomon pilot writes one.") from error


def _comparison(stored: dict[str, Any]) -> Comparison:
    return Comparison(**{**stored, "gain": PairedGain(**stored["gain"])})
