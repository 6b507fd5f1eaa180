"""Rules for every test: what drives a real server runs last, and continuous integration skips nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# An example's time says more of the machine than of the code.
settings.register_profile("solomon", deadline=None)
settings.load_profile("solomon")

_E2E = Path(__file__).parent / "e2e"
_FAULTS = Path(__file__).parent / "faults"
_NO_SKIPS = os.environ.get("CI", "").lower() in ("1", "true")


def pytest_collection_modifyitems(items):
    """Mark what lies in tests/e2e and tests/faults, and put it after the quick tests."""
    for item in items:
        if _E2E in item.path.parents or _FAULTS in item.path.parents:
            item.add_marker("e2e")
    items.sort(key=lambda item: item.get_closest_marker("e2e") is not None)


def _fail_if_skipped(report):
    if _NO_SKIPS and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"CI=true allows no skipped test: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Turn a skipped test into a failed one where CI=true."""
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    """Turn a skipped module into a failed one where CI=true."""
    report = yield
    _fail_if_skipped(report)
    return report
