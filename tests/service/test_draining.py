"""Stopping: unready first, then what is in flight is finished, or handed back when its time is up."""

import asyncio
import signal
import threading

import httpx
import pytest
import uvicorn

from service.app import create_app
from service.server import DrainingServer
from tests.e2e.server_process import free_port
from tests.service.conftest import wait_until_ready

QUESTION = {"input": "why?", "route": "augment", "max_augment_tokens": 64}


@pytest.fixture
def start(make_settings, open_backend):
    """Starts servers with given seconds to drain and of grace; what it returns can be told to stop."""
    running = []

    def start_with(drain, grace, open_it=None):
        settings = make_settings(port=free_port(), drain_seconds=drain, grace_seconds=grace)
        app = create_app(settings, open_it or open_backend(settings))
        config = uvicorn.Config(app, port=settings.port, log_config=None, timeout_graceful_shutdown=60)
        server = DrainingServer(config, app.state.runtime, drain, grace)
        thread = threading.Thread(target=asyncio.run, args=(server.serve(),), daemon=True)
        thread.start()
        running.append((server, thread))
        client = httpx.Client(base_url=f"http://127.0.0.1:{settings.port}", timeout=60)
        if open_it is None:
            wait_until_ready(_Patient(client))
        return server, thread, client

    yield start_with
    for server, thread in running:
        server.should_exit = True
        thread.join(60)


class _Patient:
    """A client for which a server that does not listen yet is one that is not ready."""

    def __init__(self, client):
        self._client = client

    def get(self, path):
        try:
            return self._client.get(path)
        except httpx.ConnectError:
            return httpx.Response(503)


def test_a_draining_server_is_unready_and_serves_on(start):
    server, _, client = start(drain=600, grace=10)
    assert "connection" not in client.get("/info").headers
    server.handle_exit(signal.SIGTERM, None)
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert "stopping" in ready.json()["detail"]
    assert client.get("/healthz").status_code == 200
    answer = client.post("/embed", json={"input": "x", "route": "embed"})
    assert answer.status_code == 200
    assert answer.headers["connection"] == "close"
    assert not server.should_exit


def test_it_stops_when_it_has_drained(start):
    server, thread, client = start(drain=0.3, grace=10)
    server.handle_exit(signal.SIGTERM, None)
    assert not server.should_exit
    thread.join(60)
    assert not thread.is_alive()
    with pytest.raises(httpx.ConnectError):
        client.get("/readyz")


def test_a_second_signal_does_not_wait(start):
    server, thread, _ = start(drain=600, grace=10)
    server.handle_exit(signal.SIGTERM, None)
    assert not server.should_exit
    server.handle_exit(signal.SIGTERM, None)
    assert server.should_exit
    thread.join(60)
    assert not thread.is_alive()


def test_ctrl_c_does_not_drain(start):
    server, thread, _ = start(drain=600, grace=10)
    server.handle_exit(signal.SIGINT, None)
    assert server.should_exit
    thread.join(60)
    assert not thread.is_alive()


class _Slow:
    """An engine that answers nothing before it is told to, or closed."""

    def __init__(self, engine):
        self._engine = engine
        self.asked = threading.Event()
        self.go = threading.Event()

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def submit(self, item, options, deadline=None):
        self.asked.set()
        while not self.go.wait(0.01) and self._engine.alive:
            pass
        return self._engine.submit(item, options, deadline)


@pytest.fixture
def slow(make_settings, open_backend):
    """A backend opener whose engine waits, and that engine once it is open."""
    opened = []

    def open_it(opening):
        backend = open_backend(make_settings())(opening)
        opened.append(_Slow(backend.embedder))
        return type(backend)(opened[0], backend.store)

    return open_it, opened


def ask(client, answers):
    answers.append(client.post("/embed", json=QUESTION))


@pytest.mark.parametrize("finishes", [True, False], ids=["finished", "handed back"])
def test_what_is_in_flight(start, slow, finishes):
    open_it, opened = slow
    server, thread, client = start(0, 30 if finishes else 0.5, open_it)
    wait_until_ready(_Patient(client))
    answers = []
    asking = threading.Thread(target=ask, args=(client, answers))
    asking.start()
    assert opened[0].asked.wait(60)
    server.handle_exit(signal.SIGTERM, None)
    if finishes:
        opened[0].go.set()
    asking.join(60)
    thread.join(60)
    assert not thread.is_alive()
    (answer,) = answers
    if finishes:
        assert answer.status_code == 200
    else:
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
