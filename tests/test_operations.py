"""The page for operators names every metric, setting of its kind, and field of a call's log line."""

import re
from pathlib import Path

import pytest

from index.types import CollectionInfo
from service.metrics import Metrics
from service.settings import Settings

PAGE = (Path(__file__).parent.parent / "docs" / "operations.md").read_text("utf-8")


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
