"""A real Prometheus scrapes a real server under load: every panel and every recorded series has data."""

import json
import threading
import time
from pathlib import Path

import httpx
import pytest
import yaml

from tests.e2e.inputs import CAPTIONS, QUESTIONS, picture
from tests.e2e.prometheus import SCRAPE_SECONDS, Prometheus, prometheus

FILES = Path(__file__).parents[2] / "helm" / "solomon" / "files"
DASHBOARD = json.loads((FILES / "dashboard.json").read_text("utf-8"))
QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", ())
]
GROUPS = yaml.safe_load((FILES / "rules.yaml").read_text("utf-8"))["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
SLOW = "the-slow-one"
RANGE_SECONDS = 60


def filled_in(expression):
    """A panel's query as Grafana sends it: all namespaces and jobs, the last minutes."""
    given = {"$namespace": ".*", "$job": ".*", "$__rate_interval": "1m", "$__range": "5m"}
    for variable, value in given.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression
    return expression


def ask_for_everything(client):
    """One call of each kind that a panel shows."""
    client.post("/embed", json={"input": list(CAPTIONS), "augment_threshold": 1})
    client.post("/embed", json={"input": {"text": "what is it?", "image": picture("dog")}, "route": "embed"})
    slow = {"input": QUESTIONS[0], "route": "augment", "max_augment_tokens": 8}
    client.post("/embed", json=slow, headers={"X-Request-ID": SLOW})
    client.post("/embed", json={"input": "a document", "input_type": "document"})
    client.post("/search", json={"query": CAPTIONS[0], "route": "embed"})
    client.post("/search", json={"query": CAPTIONS[0], "k": 0})


@pytest.fixture(scope="module")
def watcher(start_server, tmp_path_factory):
    """A Prometheus that has seen a server's load."""
    executable = prometheus()
    if executable is None:
        pytest.skip("prometheus is not installed")
    server = start_server(SOLOMON_THREADS="1")
    watching = Prometheus(
        executable, tmp_path_factory.mktemp("prometheus"), [f"127.0.0.1:{server.port}"], FILES / "rules.yaml"
    )
    over = threading.Event()

    def load():
        with httpx.Client(base_url=server.url, timeout=180) as client:
            while not over.is_set():
                ask_for_everything(client)

    loading = threading.Thread(target=load, daemon=True)
    try:
        # The counters have to be seen twice, once before they grow.
        watching.wait_for("a first scrape", lambda: watching.values("solomon_ready") == [1.0])
        loading.start()
        grown = "increase(solomon_search_latency_seconds_count[1m]) > 0 and on () vector(1)"
        watching.wait_for("load", lambda: bool(watching.values(grown)))
        time.sleep(5 * SCRAPE_SECONDS)
        yield watching
    finally:
        over.set()
        if loading.is_alive():
            loading.join(180)
        watching.stop()


@pytest.mark.parametrize("expression", QUERIES)
def test_a_panel_has_data(watcher, expression):
    drawn = watcher.drawn(filled_in(expression), RANGE_SECONDS)
    assert any(value == value for value in drawn), "nothing, or nothing but NaN"


@pytest.mark.parametrize("name", [rule["record"] for rule in RULES if "record" in rule])
def test_a_recorded_series_has_data(watcher, name):
    assert watcher.drawn(name, RANGE_SECONDS)


def test_the_rules_are_loaded_and_nothing_fires(watcher):
    groups = watcher.get("rules")["groups"]
    loaded = [rule for group in groups for rule in group["rules"]]
    assert len(loaded) == len(RULES)
    assert {rule["health"] for rule in loaded} == {"ok"}
    assert [rule["name"] for rule in loaded if rule.get("state") == "firing"] == []


def test_what_routing_saves_can_be_read(watcher):
    assert max(watcher.drawn("solomon_augment_seconds_saved_total", RANGE_SECONDS)) > 0
    augmented = 'sum(rate(solomon_route_total{route="augment"}[1m]))'
    shares = watcher.drawn(f"{augmented} / sum(rate(solomon_route_total[1m]))", RANGE_SECONDS)
    assert any(0 < share < 1 for share in shares)


def test_a_slow_bucket_leads_to_a_request(watcher):
    series = watcher.get(
        "query_exemplars",
        query='solomon_embed_latency_seconds_bucket{route="augment"}',
        start=time.time() - 600,
        end=time.time() + 60,
    )
    named = {exemplar["labels"]["request_id"] for one in series for exemplar in one["exemplars"]}
    assert named == {SLOW}
