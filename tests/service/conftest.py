"""A real application for tests: the tiny random model's engine and a FAISS store in a temporary folder."""

from __future__ import annotations

import time
from contextlib import contextmanager

import pytest
import structlog
from starlette.testclient import TestClient

from index.store import FaissStore
from model.engine import Engine, EngineSettings
from service.app import create_app
from service.runtime import Backend
from service.settings import Settings
from service.vector_space import vector_space
from tests.model.tiny import load_tiny


@pytest.fixture(scope="session", autouse=True)
def _quiet_log():
    def drop(logger, name, event):
        raise structlog.DropEvent

    structlog.configure(processors=[drop])


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in (
        "SOLOMON_API_KEYS",
        "SOLOMON_API_KEYS_FILE",
        "SOLOMON_API_KEY",
        "SOLOMON_HOST",
        "SOLOMON_DATA_DIR",
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def loaded_model():
    return load_tiny(checkpoint_sha256="ab" * 32)


LOCAL = "http://localhost"  # the name by which tests call; a server without keys answers to no stranger's


def wait_until_ready(client, seconds=60):
    deadline = time.monotonic() + seconds
    while client.get("/readyz").status_code != 200:
        assert time.monotonic() < deadline, "the application did not become ready"
        time.sleep(0.01)


@pytest.fixture
def make_settings(tmp_path):
    def make(**changes):
        return Settings(**{"data_dir": tmp_path / "data", "demo": False, **changes})

    return make


@pytest.fixture
def open_backend(loaded_model, make_settings):
    """A backend opener over the tiny model; the collection `default` is there and empty."""

    def opener_for(settings, **engine_changes):
        def open_it(opening):
            store = FaissStore(settings.data_dir)
            engine = Engine(
                loaded_model,
                EngineSettings(**{"threads": 1, "dtype": "float32", **engine_changes}),
                observer=opening.observer,
            )
            store.create("default", engine.info.dimensions, vector_space(engine.info))
            return Backend(engine, store)

        return open_it

    return opener_for


@pytest.fixture
def serve(make_settings, open_backend):
    """A context manager that serves an application with changed settings to a test client."""

    @contextmanager
    def serve_with(fetcher=None, engine=None, **changes):
        settings = make_settings(**changes)
        app = create_app(settings, open_backend(settings, **(engine or {})), fetcher=fetcher)
        with TestClient(app, LOCAL, raise_server_exceptions=False) as client:
            wait_until_ready(client)
            yield client

    return serve_with


@pytest.fixture
def client(serve):
    with serve() as client:
        yield client
