"""Real servers with the shipped checkpoint.

`SOLOMON_E2E_MODEL` names another model (a hub id or a folder) to develop the suite against; the tests
that need trained routes and vectors are skipped then.
"""

from __future__ import annotations

import os

import httpx
import pytest

from service.settings import default_checkpoint
from tests.e2e.server_process import ServerProcess

CLIENT_TIMEOUT_SECONDS = 180


@pytest.fixture(scope="session")
def model():
    """What the servers load: None is the shipped checkpoint."""
    other = os.environ.get("SOLOMON_E2E_MODEL")
    if other is None and not default_checkpoint().is_dir():
        pytest.skip(f"the checkpoint {default_checkpoint().name} is missing")
    return other


@pytest.fixture(scope="session")
def trained(model):
    """For tests that only a trained checkpoint can pass."""
    if model is not None:
        pytest.skip(f"nothing is known of what {model} was trained for")


@pytest.fixture(scope="session")
def start_server(model, tmp_path_factory):
    """Starts servers, each on a data directory of its own, and stops them at the end."""
    started = []

    def start(demo=False, **settings):
        process = ServerProcess(tmp_path_factory.mktemp("server") / "data", model, demo, **settings)
        started.append(process)
        process.start()
        return process

    yield start
    for process in started:
        process.stop()


@pytest.fixture(scope="session")
def server(start_server):
    """The server that most tests share, with the demo corpus."""
    return start_server(demo=True)


@pytest.fixture(scope="session")
def client(server):
    with httpx.Client(base_url=server.url, timeout=CLIENT_TIMEOUT_SECONDS) as client:
        yield client


@pytest.fixture
def collection(client, request):
    """An empty collection for one test, dropped after it."""
    name = request.node.name.partition("[")[0].replace("_", "-")[:60]
    assert client.put(f"/collections/{name}").status_code == 201
    yield name
    client.delete(f"/collections/{name}")
