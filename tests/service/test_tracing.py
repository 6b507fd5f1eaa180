"""Spans of calls and of the work below them, with routes and counts and without content."""

import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.testclient import TestClient

from model.installing import install_command
from service.app import create_app
from service.tracing import NO_TRACING, Tracing, TracingUnavailable, open_tracing
from tests.service.conftest import LOCAL, wait_until_ready

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"
SECRET = "zebra-crossing"


@pytest.fixture(autouse=True)
def _no_standard_variables(monkeypatch):
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def traced(make_settings, open_backend):
    """A client of a traced application, and what it exported."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    settings = make_settings()
    closed = []
    tracing = Tracing(provider.get_tracer("test"), lambda: closed.append(True))
    app = create_app(settings, open_backend(settings), tracing=tracing)
    with TestClient(app, LOCAL, raise_server_exceptions=False) as client:
        wait_until_ready(client)
        yield client, exporter.get_finished_spans
    assert closed == [True]


def named(spans, name):
    (span,) = (span for span in spans if span.name == name)
    return span


def test_a_search_is_one_trace_below_the_callers(traced):
    client, spans = traced
    headers = {"traceparent": TRACEPARENT, "X-Request-ID": "call-7"}
    answer = client.post("/search", json={"query": SECRET, "route": "embed"}, headers=headers)
    assert answer.status_code == 200
    call = named(spans(), "POST /search")
    assert f"{call.context.trace_id:032x}" == TRACE
    assert call.attributes["http.response.status_code"] == 200
    assert call.attributes["solomon.request_id"] == "call-7"
    embed, index = named(spans(), "embed"), named(spans(), "index")
    assert embed.parent.span_id == index.parent.span_id == call.context.span_id
    assert embed.attributes["solomon.route"] == "embed"
    assert embed.attributes["solomon.decision"] == "forced"
    assert embed.attributes["solomon.prompt_tokens"] > 0
    queue, compute = named(spans(), "queue"), named(spans(), "compute")
    assert queue.parent.span_id == compute.parent.span_id == embed.context.span_id
    assert queue.start_time <= queue.end_time == compute.start_time < compute.end_time
    assert {span.context.trace_id for span in spans()} == {call.context.trace_id}


def test_spans_hold_no_content(traced):
    client, spans = traced
    client.post("/embed", json={"input": SECRET, "route": "augment"})
    client.post("/embed", json={"input": {"image": f"https://{SECRET}.example.org/a.png"}})
    client.get(f"/collections/default/documents/{SECRET}", headers={"X-API-Key": SECRET})
    assert len(spans()) >= 5
    assert SECRET not in "".join(span.to_json() for span in spans())
    assert any(span.name == "GET /collections/{name}/documents/{id:path}" for span in spans())
    assert not any(event for span in spans() for event in span.events)


def test_health_and_scrapes_leave_no_spans(traced):
    client, spans = traced
    for path in ("/healthz", "/readyz", "/metrics"):
        client.get(path)
    assert spans() == ()


def test_an_exemplar_names_the_request_and_its_trace(traced):
    client, _ = traced
    client.post(
        "/embed", json={"input": "x"}, headers={"traceparent": TRACEPARENT, "X-Request-ID": "slow-one"}
    )
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
    scrape = client.get("/metrics", headers={"Accept": accept})
    assert scrape.headers["content-type"].startswith("application/openmetrics-text")
    assert f'# {{request_id="slow-one",trace_id="{TRACE}"}}' in scrape.text
    assert "slow-one" not in client.get("/metrics").text


def test_without_an_endpoint_nothing_is_traced(make_settings):
    assert open_tracing(make_settings(), "1") is NO_TRACING
    assert not NO_TRACING.on


class _Collector(BaseHTTPRequestHandler):
    """Takes what is exported, and notes to which path and of which type."""

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.server.received.append((self.path, self.headers["content-type"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *message):
        pass


@pytest.fixture
def collector():
    with ThreadingHTTPServer(("127.0.0.1", 0), _Collector) as server:
        server.received = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("by", ["setting", "standard variable"])
def test_an_endpoint_is_where_spans_go_at_the_latest_when_it_ends(make_settings, monkeypatch, collector, by):
    url = f"http://127.0.0.1:{collector.server_address[1]}"
    settings = make_settings(otlp_endpoint=f"{url}/v1/traces" if by == "setting" else None)
    if by == "standard variable":
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    tracing = open_tracing(settings, "1")
    assert tracing.on
    tracing.tracer.start_span("work").end()
    tracing.close()
    assert collector.received == [("/v1/traces", "application/x-protobuf")]


def test_without_the_extra_it_is_told_what_to_install(make_settings, monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(TracingUnavailable, match=re.escape(install_command("otel"))):
        open_tracing(make_settings(otlp_endpoint="http://127.0.0.1:9/v1/traces"), "1")
