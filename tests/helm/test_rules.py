"""The rules pass promtool's checks and unit tests, and every alert is tested and explained."""

import json
import re
import shutil
import subprocess

import pytest
import yaml

from tests.helm.chart import CHART, ROOT
from tests.test_operations import metrics_of_a_scrape

RULES = CHART / "files" / "rules.yaml"
CASES = ROOT / "tests" / "helm" / "rules_test.yaml"
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text("utf-8")


def promtool(*arguments):
    executable = shutil.which("promtool")
    if executable is None:
        pytest.skip("promtool is not installed")
    done = subprocess.run([executable, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def rules(kind):
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


def test_promtool_accepts_the_rules():
    promtool("check", "rules", "--lint-fatal", str(RULES))


def test_alerts_fire_when_they_should_and_only_then():
    promtool("test", "rules", str(CASES))


@pytest.mark.parametrize("name", [rule["alert"] for rule in rules("alert")])
def test_every_alert_is_tested_and_has_a_runbook_entry(name):
    tests = yaml.safe_load(CASES.read_text("utf-8"))["tests"]
    cases = [case for test in tests for case in test.get("alert_rule_test", ())]
    fired = {case["alertname"] for case in cases if case["exp_alerts"]}
    assert name in fired
    (rule,) = (rule for rule in rules("alert") if rule["alert"] == name)
    assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"
    entry = re.search(rf"^## {name}\n(.+?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    assert entry is not None
    assert len(entry[1].split()) > 20


def test_the_runbook_has_no_entry_without_an_alert():
    explained = re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE)
    assert sorted(explained) == sorted(rule["alert"] for rule in rules("alert"))


def exposed():
    """Names of the series that a server exposes, whose labels appear only with load included."""
    names = set()
    for name in families():
        names |= {name, *(f"{name}_{end}" for end in ("total", "bucket", "sum", "count"))}
    return names | {"up"}


def families():
    """Names of the metrics that a server exposes, a counter's without its ending."""
    return sorted({family.name for family in metrics_of_a_scrape().registry.collect()})


@pytest.mark.parametrize("file", ["rules.yaml", "dashboard.json"])
def test_no_query_names_a_metric_that_there_is_not(file):
    text = (CHART / "files" / file).read_text("utf-8")
    named = set(re.findall(r"\b(solomon_\w+|process_\w+)\b", text))
    assert len(named) > 8
    assert named <= exposed()


def test_recorded_series_are_those_that_alerts_and_panels_use():
    recorded = {rule["record"] for rule in rules("record")}
    queries = [rule["expr"] for rule in rules("alert")] + panel_queries()
    assert {name for query in queries for name in re.findall(r"\bsolomon:[\w:]+", query)} == recorded


# Metrics that no panel shows, and why none has to.
UNSHOWN = {
    "process_virtual_memory_bytes": "says nothing of the memory that is used, which is shown",
    "process_open_fds": "is bounded by the connections, which are shown",
    "process_max_fds": "never changes",
}


def panel_queries():
    dashboard = json.loads((CHART / "files" / "dashboard.json").read_text("utf-8"))
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]


@pytest.mark.parametrize("name", families())
def test_every_metric_is_in_a_panel_or_has_a_reason_not_to_be(name):
    shown = any(re.search(rf"\b{name}(_total|_bucket|_sum|_count)?\b", query) for query in panel_queries())
    assert shown != (name in UNSHOWN), "neither shown nor excused, or both"


def test_panels_do_not_overlap_and_have_ids_of_their_own():
    panels = json.loads((CHART / "files" / "dashboard.json").read_text("utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_an_unready_server_is_told_before_the_startup_probe_restarts_it():
    probe = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))["probes"]["startup"]
    (rule,) = (rule for rule in rules("alert") if rule["alert"] == "SolomonNotReady")
    minutes = int(rule["for"].removesuffix("m"))
    assert 60 * minutes < probe["periodSeconds"] * probe["failureThreshold"]


def test_what_the_chart_replaces_in_the_rules_is_there():
    text = RULES.read_text("utf-8")
    assert set(re.findall(r'job="[^"]*"', text)) == {'job="solomon"'}
    assert text.count("runbook_url: docs/runbook.md#") == len(rules("alert"))
