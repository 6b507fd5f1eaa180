"""Many clients at once: every call is answered, and only a full queue turns any away."""

import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from model.errors import QueueFull
from model.types import EmbedOptions, RouteChoice
from service.app import create_app
from service.embedding import EmbeddingService
from tests.service.images import data_uri, encoded
from tests.service.test_openai import listening

IMAGE = data_uri(encoded())
CALLS = [
    ("/embed", {"input": "a", "route": "embed"}),
    ("/embed", {"input": "b", "route": "augment"}),
    ("/embed", {"input": [{"image": IMAGE}, "c", {"text": "d", "image": IMAGE}]}),
    ("/search", {"query": "a", "k": 3}),
    ("/collections/default/documents", {"documents": [{"id": "same", "text": "e"}, {"image": IMAGE}]}),
    ("/embed", {"input": ["good", {"image": "data:image/png;base64,AAAA"}]}),
]


def test_mixed_calls_from_many_clients(make_settings, open_backend):
    settings = make_settings()
    app = create_app(settings, open_backend(settings))
    with listening(app) as url, httpx.Client(base_url=url, timeout=120) as http:
        alone = http.post("/embed", json=CALLS[0][1]).json()["data"][0]["embedding"]

        def call(number):
            path, body = CALLS[number % len(CALLS)]
            return number % len(CALLS), http.post(path, json=body)

        with ThreadPoolExecutor(32) as clients:
            answers = list(clients.map(call, range(180)))
        statuses = {
            kind: Counter(r.status_code for k, r in answers if k == kind) for kind in range(len(CALLS))
        }
        assert [set(counter) for counter in statuses.values()] == [{200}, {200}, {200}, {200}, {201}, {415}]
        for kind, response in answers:
            if kind == 0:
                together = response.json()["data"][0]["embedding"]
                np.testing.assert_allclose(together, alone, atol=1e-4)
        assert http.get("/collections/default").json()["count"] == 1 + 30


def test_a_small_queue_refuses_some_and_breaks_none(make_settings, open_backend):
    settings = make_settings()
    app = create_app(settings, open_backend(settings, max_queue=2, max_batch_size=1))
    with (
        listening(app) as url,
        httpx.Client(base_url=url, timeout=120) as http,
        ThreadPoolExecutor(32) as clients,
    ):
        body = {"input": ["x", "y"], "route": "augment"}
        answers = list(clients.map(lambda _: http.post("/embed", json=body), range(96)))
        assert {answer.status_code for answer in answers} <= {200, 429}
        assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 429)
        assert app.state.runtime.services.backend.embedder.queue_depth == 0


@pytest.mark.parametrize("path", ["/embed", "/v1/embeddings"])
def test_a_full_queue_refuses_before_it_reads(serve, monkeypatch, path):
    with serve() as client:
        embedding = client.app.state.runtime.services.embedding
        monkeypatch.setattr(embedding, "full", lambda: QueueFull(3.0))
        refused = client.post(path, content=b"{", headers={"Content-Type": "application/json"})
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "3")
        assert "connection" not in refused.headers
        large = client.post(path, content=b" " * 100_000)
        assert (large.status_code, large.headers["connection"]) == (429, "close")
        told = refused.json()
        assert told["type"].endswith("/queue-full") if path == "/embed" else told["error"]["code"], told
        assert client.get(path).status_code == 405
        assert 'solomon_rejected_total{reason="queue-full"} 2.0' in client.get("/metrics").text


def test_a_stranger_is_not_told_of_the_queue(serve, monkeypatch):
    with serve(api_keys="k") as client:
        embedding = client.app.state.runtime.services.embedding
        monkeypatch.setattr(embedding, "full", lambda: QueueFull(3.0))
        assert client.post("/embed", json={"input": "x"}).status_code == 401


def test_a_refused_call_leaves_its_connection_in_order(make_settings, open_backend, monkeypatch):
    """Whether its body comes with its head, behind it, or not at all."""
    settings = make_settings()
    app = create_app(settings, open_backend(settings))
    monkeypatch.setattr(EmbeddingService, "full", lambda self: QueueFull(3.0))
    head = (
        b"POST /embed HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
    )
    following = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    with listening(app) as url:
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        for extra, late in ((b"", False), (b"", True), (b"Expect: 100-continue\r\n", True)):
            with socket.create_connection(address, timeout=30) as client:
                client.sendall(head + extra + b"\r\n" + (b"" if late else b"{}"))
                if late:
                    time.sleep(0.2)
                    client.sendall(b"{}")
                client.sendall(following)
                answers = b"".join(iter(lambda client=client: client.recv(65536), b""))
            assert answers.count(b"HTTP/1.1 429") == answers.count(b"HTTP/1.1 200") == 1, answers
        with socket.create_connection(address, timeout=30) as client:
            client.sendall(head + b"\r\n")  # and nothing more
            answers = b"".join(iter(lambda: client.recv(65536), b""))
        assert answers.startswith(b"HTTP/1.1 429")
        assert b"connection: close" in answers.lower()


def test_the_queue_is_full_when_nothing_more_can_be_admitted(serve):
    with serve(max_queue=3, max_items=3) as client:
        embedding, soon = client.app.state.runtime.services.embedding, time.monotonic() + 60
        with embedding.admit(2, EmbedOptions(), soon):
            assert embedding.full() is None
            with pytest.raises(QueueFull), embedding.admit(2, EmbedOptions(), soon):
                pass
            with embedding.admit(1, EmbedOptions(), soon):
                assert embedding.full() is not None
        assert embedding.full() is None


CALLS_BY_ROUTE = [
    ("/search", {"query": "x", "route": "embed"}),
    ("/embed", {"input": "x"}),
    ("/search", {"query": "x", "route": "augment"}),
]


def test_who_would_wait_beyond_the_deadline_is_refused_at_once(serve, monkeypatch):
    """A queue of the default length takes longer to drain than a call may take, on most machines."""
    waits = {RouteChoice.EMBED: 0.0, RouteChoice.AUTO: 0.0, RouteChoice.AUGMENT: 0.0}
    with serve(request_timeout_seconds=100) as client:
        services = client.app.state.runtime.services
        engine = services.backend.embedder
        monkeypatch.setattr(engine, "expected_seconds", lambda options: waits[options.route])
        monkeypatch.setattr(type(engine), "queue_depth", property(lambda self: 5))
        for slow in (None, RouteChoice.AUGMENT, RouteChoice.AUTO, RouteChoice.EMBED):
            if slow is not None:
                waits[slow] = 80.0
            for path, body in CALLS_BY_ROUTE:
                refused = waits[RouteChoice(body.get("route", "auto"))] > 70
                answer = client.post(path, json=body)
                assert answer.status_code == (429 if refused else 200), (slow, body)
                if refused:
                    assert "take too long" in answer.json()["detail"]
                    assert answer.headers["retry-after"] == "5"
