"""SECURITY.md names a test for every threat, and the tests that it names exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROWS = [
    line.strip("|").split(" | ")
    for line in (ROOT / "SECURITY.md").read_text("utf-8").splitlines()
    if line.startswith("| ") and not line.startswith(("| threat", "| ---"))
]


def functions(path):
    return {node.name for node in ast.walk(ast.parse(path.read_text("utf-8"))) if hasattr(node, "name")}


def test_there_are_threats():
    assert len(ROWS) > 20


@pytest.mark.parametrize("row", ROWS, ids=[row[0].strip() for row in ROWS])
def test_a_threat_is_covered_by_tests_that_exist(row):
    assert len(row) == 3, row
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row[2])
    assert named, "no test is named"
    assert len(named) == row[2].count("`") / 2, "something that is named is no test"
    for path, name in named:
        assert name in functions(ROOT / path), f"{path}::{name}"
