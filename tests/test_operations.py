"""The page for operators names every metric, setting of its kind, and field of a call's log line."""

import ast
import re
from pathlib import Path

import pytest

from index.log_names import logged_name, show_names
from index.types import CollectionInfo
from service.metrics import Metrics
from service.settings import Settings

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "operations.md").read_text("utf-8")


class _Reader:
    def queue_depth(self):
        return 0

    def collections(self) -> list[CollectionInfo]:
        return []

    def disk(self) -> None:
        return None


def metrics_of_a_scrape() -> Metrics:
    """The metrics of a server that is open and has not served yet."""
    exposed = Metrics()
    exposed.read_at_scrape(_Reader())
    return exposed


def metrics():
    families = metrics_of_a_scrape().registry.collect()
    return sorted(family.name for family in families if family.name.startswith("solomon_"))


@pytest.mark.parametrize("name", metrics())
def test_every_metric_is_explained(name):
    assert re.search(rf"^\|[^|]*`{name}`[^|]*\|", PAGE, re.MULTILINE)


def test_settings_that_it_names_are_settings():
    named = set(re.findall(r"SOLOMON_(\w+)", PAGE))
    assert {"DRAIN_SECONDS", "GRACE_SECONDS", "KEEP_ALIVE_SECONDS", "LOG_CONTENT", "OTLP_ENDPOINT"} <= named
    assert named <= {field.upper() for field in Settings.model_fields}


def fields():
    """What the service writes into a call's line, as its code says."""
    found = set()
    for path in (ROOT / "service").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", None))
            first = node.args[0] if node.args else None
            is_line = name == "log" and isinstance(first, ast.Constant) and first.value == "call"
            if is_line or name in ("count", "bound_contextvars"):
                found |= {keyword.arg for keyword in node.keywords if keyword.arg is not None}
    return found


def test_every_field_of_a_calls_line_is_explained_and_no_other():
    logs = PAGE.partition("\n## Logs\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in logs.splitlines() if line.startswith("| `")]
    with_content = {"texts", "augmentations"}
    assert {"request_id", "trace_id", "key", "path", "route", "index_ms"} <= fields()
    assert set(re.findall(r"`(\w+)`", "".join(rows))) == fields() - with_content
    assert all(f"`{name}`" in logs for name in with_content)


def test_the_mark_of_a_name_is_that_which_the_page_tells():
    name, mark = re.search(r"such as `#(\w+)`, which `printf %s (\w+) \| sha256sum", PAGE).group(2, 1)
    show_names(False)
    try:
        assert logged_name(name) == f"#{mark}"
    finally:
        show_names(True)
