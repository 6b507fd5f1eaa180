"""What is written of the three arms is what the report says of each under its own route."""

import json

import pytest
import typer
from typer.testing import CliRunner

from benchmarks import reporting, routing_arms
from benchmarks.routing_arms import ADAPTIVE, ALWAYS_AUG, NO_AUG, digest

ARMS = {NO_AUG: ("embed", 0.68), ALWAYS_AUG: ("augment", 0.66), ADAPTIVE: ("auto", 0.70)}


def estimate(mean):
    return {"mean": mean, "low": mean - 0.01, "high": mean + 0.01}


def report_of(arms):
    groups = [
        {"name": name, "route": route, "embed_share": 0.5, "over_queries": estimate(mean), "by_seed": [mean]}
        for name, (route, mean) in arms.items()
    ]
    differences = [
        {"first": ADAPTIVE, "second": name, "scope": scope, "over_queries": estimate(0.70 - mean)}
        for name, (_, mean) in arms.items()
        if name != ADAPTIVE
        for scope in ("all datasets", "vqa")
    ]
    checkpoints = [
        {
            "label": name,
            "scores": [
                {"dataset": "flags", "route": route, "precision_at_1": mean},
                {"dataset": "flags", "route": "other", "precision_at_1": 0.1},
            ],
        }
        for name, (route, mean) in arms.items()
    ]
    return {"comparison": {"groups": groups, "differences": differences}, "checkpoints": checkpoints}


def test_each_arm_counts_under_its_own_route():
    found = digest(report_of(ARMS))
    assert found["arms"][ADAPTIVE] == {"route": "auto", "embed_share": 0.5, **estimate(0.70)}
    assert found["datasets"] == {name: {"flags": mean} for name, (_, mean) in ARMS.items()}
    assert len(found["differences"]) == 4


def test_a_report_without_an_arm_is_refused():
    with pytest.raises(ValueError, match="no AlwaysAug"):
        digest(report_of({name: ARMS[name] for name in (NO_AUG, ADAPTIVE)}))
    with pytest.raises(ValueError, match="no Adaptive, NoAug, AlwaysAug"):
        digest({"comparison": None, "checkpoints": []})


def test_the_command_writes_the_gaps_and_whether_they_are_what_was_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(reporting, "RESULTS", tmp_path)
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report_of(ARMS)))
    app = typer.Typer()
    app.command()(routing_arms.main)
    done = CliRunner().invoke(app, [str(path)])
    assert done.exit_code == 0, done.output
    written = json.loads((tmp_path / "routing_arms-mini.json").read_text())
    gaps = {ratio["name"]: (round(ratio["value"], 3), ratio["met"]) for ratio in written["ratios"]}
    assert gaps == {
        "mean P@1, Adaptive minus NoAug": (0.02, True),
        "mean P@1, Adaptive minus AlwaysAug": (0.04, True),
    }
