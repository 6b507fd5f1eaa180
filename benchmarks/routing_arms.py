"""Adaptive routing beside never and always augmenting: three checkpoints, trained alike from a common one.

What the paper's table 1 compares (67.6 against 66.1 and 67.4). Each arm goes on from the shipped checkpoint
for as many steps on each dataset, by a recipe that differs in `mode` alone. Always augmenting can only be
taught where there are answers: its recipe has the datasets that do, and the true class is a class's answer.

    solomon data mini --output DATA
    solomon synthesize --data DATA --output TRUTH --datasets caltech101,cifar10,clothing \\
        --teacher ground-truth --positive-is-answer caltech101,cifar10,clothing
    for arm in adaptive no-augmentation always-augment; do       # always-augment with --data TRUTH
        solomon train joint --data DATA --recipe mini-arm-$arm --output ARMS/$arm --run ARMS/$arm-run \\
            --start-from model/checkpoints/solomon-mini \\
            --tower model/checkpoints/solomon-mini/vision.safetensors
    done
    solomon evaluate Adaptive=ARMS/adaptive NoAug=ARMS/no-augmentation AlwaysAug=ARMS/always-augment \\
        --data DATA --limit 200 --no-latency --output ARMS/report
    python -m benchmarks.routing_arms ARMS/report/report.json

Differences are paired query by query; intervals are 95 %, over queries, of one training run each. They say
nothing of what another seed would have given.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.reporting import Ratio, ratio_rows, show, surroundings, write_results

PACKAGES = ("torch", "transformers", "peft")
ADAPTIVE, NO_AUG, ALWAYS_AUG = "Adaptive", "NoAug", "AlwaysAug"
TARGETS = {NO_AUG: (">=", 0.015), ALWAYS_AUG: (">=", 0.0)}  # P@1 that adaptive is to be better by


def digest(report: dict[str, Any]) -> dict[str, Any]:
    """Each arm's mean P@1 with its interval, the paired differences, and P@1 by dataset.

    Raises `ValueError` for a report of other checkpoints.
    """
    comparison = report["comparison"] or {"groups": []}
    arms = {group["name"]: group for group in comparison["groups"]}
    if missing := [name for name in (ADAPTIVE, NO_AUG, ALWAYS_AUG) if name not in arms]:
        raise ValueError(f"The report has no {', '.join(missing)}: see this module for how it is made.")
    return {
        "arms": {
            name: {"route": arm["route"], "embed_share": arm["embed_share"], **arm["over_queries"]}
            for name, arm in arms.items()
        },
        "differences": [
            {key: one[key] for key in ("first", "second", "scope")} | one["over_queries"]
            for one in comparison["differences"]
        ],
        "datasets": {
            checkpoint["label"]: {
                score["dataset"]: score["precision_at_1"]
                for score in checkpoint["scores"]
                if score["route"] == arms[checkpoint["label"]]["route"]
            }
            for checkpoint in report["checkpoints"]
        },
    }


def main(
    report: Annotated[Path, typer.Argument(exists=True, help="report.json of solomon evaluate.")],
) -> None:
    """Print the comparison and write benchmarks/results/routing_arms-mini.json."""
    evaluated = json.loads(report.read_text("utf-8"))
    found = digest(evaluated)
    overall = {
        one["second"]: one
        for one in found["differences"]
        if one["first"] == ADAPTIVE and one["scope"] == "all datasets"
    }
    ratios = [
        Ratio(f"mean P@1, {ADAPTIVE} minus {other}", overall[other]["mean"], target)
        for other, target in TARGETS.items()
    ]
    figures = [
        (f"{name}, mean P@1", f"{arm['mean']:.3f} ({arm['low']:.3f} to {arm['high']:.3f})")
        for name, arm in found["arms"].items()
    ]
    figures += [
        (f"{ADAPTIVE} minus {name}", f"{one['mean']:+.3f} ({one['low']:+.3f} to {one['high']:+.3f})")
        for name, one in overall.items()
    ]
    show("never, always and adaptively augmenting", figures, ratios)
    results = {"surroundings": surroundings(PACKAGES), **found, "ratios": ratio_rows(ratios)}
    typer.echo(f"written to {write_results('routing_arms-mini', results)}")


if __name__ == "__main__":
    typer.run(main)
