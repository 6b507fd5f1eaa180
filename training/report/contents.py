"""What a report says, as one JSON-compatible document; the page and its plots are drawn from it alone."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from model.types import Route, RouteChoice
from training.calibration import Curve, oracle_precision, sweep
from training.catalogue import DatasetFacts, read_catalogue
from training.comparison import Scope, differences, group, routes_of, scopes, variants
from training.evaluation import subset_files
from training.intervals import Floats
from training.latency import SINGLE
from training.provenance import file_sha256, machine_facts
from training.reliability import reliability
from training.scores import Score, mean_score
from training.scoring import ADAPTIVE, Evaluated

FORMAT = 1
CURVE_POINTS = 200
HISTOGRAM_BINS = 20

Contents = dict[str, Any]


def contents(evaluated: Sequence[Evaluated], data: Path) -> Contents:
    """The document: provenance, datasets, each checkpoint's figures, and their comparison.

    Raises ValueError without checkpoints.
    """
    if not evaluated:
        raise ValueError("A report needs at least one evaluated checkpoint.")
    catalogue = read_catalogue(data)
    names = [outcomes.dataset for outcomes in evaluated[0].outcomes]
    within = scopes(names, catalogue)
    return {
        "format": FORMAT,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": machine_facts(evaluated[0].info.device),
        "datasets": _datasets(evaluated[0], data, catalogue),
        "scopes": [asdict(scope) for scope in within],
        "checkpoints": [_checkpoint(one, within) for one in evaluated],
        "comparison": _comparison(evaluated, within) if len(evaluated) > 1 else None,
    }


def _datasets(one: Evaluated, data: Path, catalogue: dict[str, DatasetFacts]) -> dict[str, Contents]:
    files = {path.stem: path for path in subset_files(data)}
    return {
        outcomes.dataset: {
            **asdict(catalogue.get(outcomes.dataset, DatasetFacts())),
            "queries": len(outcomes.wanted),
            "candidates": int(np.median(outcomes.candidates)),
            "augment_share": float(outcomes.wanted.mean()),
            "sha256": file_sha256(files[outcomes.dataset]),
        }
        for outcomes in one.outcomes
    }


def _checkpoint(one: Evaluated, within: Sequence[Scope]) -> Contents:
    subject = one.candidate
    return {
        "label": subject.label,
        "folder": subject.folder.name,
        "mode": subject.mode,
        "seed": subject.seed,
        "base": one.info.base_model,
        "base_revision": one.info.base_revision,
        "weights_sha256": one.weights,
        "dtype": one.info.dtype,
        "device": one.info.device,
        "threshold": one.threshold,
        "scores": [asdict(score) for score in one.scores()],
        "means": [_mean(one, scope, choice) for scope in within for choice in subject.choices],
        **(_routing(one, within) if subject.mode == ADAPTIVE else {}),
    }


def _mean(one: Evaluated, scope: Scope, choice: RouteChoice) -> Contents:
    members = [outcomes for outcomes in one.outcomes if outcomes.dataset in scope.datasets]
    score: Score = mean_score(scope.name, members, choice, one.threshold)
    return {**asdict(score), "kind": scope.kind, "datasets": len(members)}


def _routing(one: Evaluated, within: Sequence[Scope]) -> Contents:
    """What only an adaptive checkpoint has: routes against one another, the curve, confidence, latency."""
    adaptive, *forced = routes_of(one)
    probability = np.concatenate([outcomes.probability for outcomes in one.outcomes])
    confidence = np.concatenate(
        [outcomes.confidence(RouteChoice.AUTO, one.threshold) for outcomes in one.outcomes]
    )
    wanted = np.concatenate([outcomes.wanted for outcomes in one.outcomes])
    right = np.concatenate([outcomes.right_routes(one.threshold) for outcomes in one.outcomes])
    return {
        "differences": [
            asdict(difference) for variant in forced for difference in differences(adaptive, variant, within)
        ],
        "curve": _curve(one),
        "calibration": {**asdict(one.calibration), "rule": one.calibration.rule.value}
        if one.calibration
        else None,
        "confidence": {
            "edges": np.linspace(0, 1, HISTOGRAM_BINS + 1).tolist(),
            **{
                label.value: np.histogram(probability[wanted == flag], HISTOGRAM_BINS, (0, 1))[0].tolist()
                for label, flag in ((Route.EMBED, False), (Route.AUGMENT, True))
            },
        },
        "reliability": asdict(reliability(confidence, right)),
        "latency": one.latency.model_dump(mode="json", exclude={"key"}) if one.latency else None,
    }


def _curve(one: Evaluated) -> Contents:
    """P@1 and cost at every threshold, thinned to `CURVE_POINTS`, and exactly at those that have a name.

    `seconds` is an estimate: the time of a query that is embedded at once, and for the share of all answer
    tokens that a threshold has written, that share of what always augmenting adds (one query at a time).
    """
    curve = sweep(one.outcomes)
    count = len(curve.thresholds)
    kept = np.unique(np.linspace(0, count - 1, min(count, CURVE_POINTS)).round().astype(int))
    seconds = _seconds(one, curve)
    named = {"in use": one.threshold}
    if one.calibration:
        named |= {"most right routes": one.calibration.by_routes, "best P@1": one.calibration.by_quality}
    columns = {name: values for name, values in asdict(curve).items() if name != "thresholds"}
    if seconds is not None:
        columns["seconds"] = seconds
    return {
        "thresholds_in_all": count,
        "thresholds": curve.thresholds[kept].tolist(),
        **{name: values[kept].tolist() for name, values in columns.items()},
        "named": [
            {
                "name": name,
                "threshold": threshold,
                **{column: float(values[curve.at(threshold)]) for column, values in columns.items()},
            }
            for name, threshold in named.items()
        ],
        "oracle": oracle_precision(one.outcomes),
    }


def _seconds(one: Evaluated, curve: Curve) -> Floats | None:
    single = (
        next((entry for entry in one.latency.latency if entry.shape == SINGLE), None) if one.latency else None
    )
    if single is None or curve.tokens[0] == 0:
        return None
    never, always = (single.seconds[choice.value].mean for choice in (RouteChoice.EMBED, RouteChoice.AUGMENT))
    return never + (always - never) * curve.tokens / curve.tokens[0]


def _comparison(evaluated: Sequence[Evaluated], within: Sequence[Scope]) -> Contents:
    sides = variants(evaluated)
    pairs = [
        difference
        for first, second in combinations(sides, 2)
        for difference in differences(first, second, within)
    ]
    return {
        "groups": [asdict(group(side)) for side in sides],
        "differences": [asdict(difference) for difference in pairs],
    }


def _commit() -> str | None:
    """The source tree's commit, with "+" for uncommitted changes; None outside a git checkout."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()  # noqa: S603

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None
