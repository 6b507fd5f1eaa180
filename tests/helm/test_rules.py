"""The rules pass promtool's checks and unit tests, and every alert is tested and explained."""

import re
import shutil
import subprocess

import pytest
import yaml

from service.metrics import Metrics, _Collections
from tests.helm.chart import CHART, ROOT

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
    assert rule["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"
    entry = re.search(rf"^## {name}\n(.+?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    assert entry is not None
    assert len(entry[1].split()) > 20


def test_the_runbook_has_no_entry_without_an_alert():
    explained = re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE)
    assert sorted(explained) == sorted(rule["alert"] for rule in rules("alert"))


def exposed():
    """Names of the series that a server exposes, whose labels appear only with load included."""
    names = set()
    for family in Metrics().registry.collect():
        names |= {family.name, *(f"{family.name}_{end}" for end in ("total", "bucket", "sum", "count"))}
    collections = _Collections(lambda: ()).describe()
    return names | {family.name for family in collections} | {"up"}


@pytest.mark.parametrize("file", ["rules.yaml", "dashboard.json"])
def test_no_query_names_a_metric_that_there_is_not(file):
    text = (CHART / "files" / file).read_text("utf-8")
    named = set(re.findall(r"\b(solomon_\w+|process_\w+)\b", text))
    assert len(named) > 8
    assert named <= exposed()


def test_recorded_series_are_those_that_alerts_use():
    recorded = {rule["record"] for rule in rules("record")}
    used = {name for rule in rules("alert") for name in re.findall(r"\bsolomon:[\w:]+", rule["expr"])}
    assert used <= recorded
