"""Two servers behind nginx are restarted one after the other under load: no call fails."""

import json
import threading
import time
from collections import Counter

import httpx
import pytest

from tests.e2e.inputs import CAPTIONS, QUESTIONS
from tests.e2e.proxy import ReadyProxy, nginx

CLIENTS = 6
DRAIN_SECONDS = 5
CALLS = (
    {"input": CAPTIONS[0]},
    {"input": QUESTIONS[0], "route": "augment", "max_augment_tokens": 8},
    {"input": CAPTIONS[1], "route": "embed"},
)


class Load:
    """Clients that ask without a pause, and what became of each call."""

    def __init__(self, url):
        self.outcomes = Counter()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._ask, args=(url, number), daemon=True) for number in range(CLIENTS)
        ]

    def _ask(self, url, number):
        with httpx.Client(base_url=url, timeout=180) as client:
            while not self._over.is_set():
                number += 1
                try:
                    outcome = client.post("/embed", json=CALLS[number % len(CALLS)]).status_code
                except httpx.HTTPError as error:
                    outcome = repr(error)
                with self._lock:
                    self.outcomes[outcome] += 1

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self._over.set()
        for thread in self._threads:
            thread.join(180)

    def wait_for_more(self, calls):
        until = self.outcomes.total() + calls
        deadline = time.monotonic() + 180
        while self.outcomes.total() < until:
            assert time.monotonic() < deadline, self.outcomes
            time.sleep(0.05)


@pytest.fixture(scope="module")
def pair(start_server, tmp_path_factory):
    """Two servers and the proxy before them."""
    executable = nginx()
    if executable is None:
        pytest.skip("nginx is not installed")
    settings = {"SOLOMON_DRAIN_SECONDS": str(DRAIN_SECONDS), "SOLOMON_THREADS": "1"}
    servers = [start_server(**settings), start_server(**settings)]
    proxy = ReadyProxy(executable, tmp_path_factory.mktemp("nginx"), [server.port for server in servers])
    proxy.start()
    yield servers, proxy
    proxy.stop()


def wait_until(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def events(server):
    lines = server.log.read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


@pytest.mark.timeout(600)
def test_a_rolling_restart_loses_no_call(pair):
    servers, proxy = pair
    with Load(proxy.url) as load:
        load.wait_for_more(2 * CLIENTS)
        for server in servers:
            server.stop()
            wait_until(lambda gone=server.port: gone not in proxy.used)
            load.wait_for_more(CLIENTS)
            server.start()
            wait_until(lambda back=server.port: back in proxy.used)
            load.wait_for_more(CLIENTS)
    assert set(load.outcomes) == {200}, load.outcomes
    for server in servers:
        stopped = [event for event in events(server) if event["event"] == "stopped"]
        assert [event["unfinished"] for event in stopped] == [0], "the log was flushed to its last line"
