"""A command that waits for a server says so, once, and goes on when it is back."""

import httpx
import pytest

from service.cli.client import Client
from service.client import requests

BUSY = httpx.Response(
    429, json={"type": "/problems/queue-full", "detail": "busy"}, headers={"Retry-After": "1"}
)
LISTED = httpx.Response(200, json={"collections": []})


@pytest.fixture
def answers(monkeypatch):
    """What the server does, call by call; None: nothing listens."""
    left = []

    def handle(request):
        answer = left.pop(0)
        if answer is None:
            raise httpx.ConnectError("[Errno 111] Connection refused")
        return answer

    monkeypatch.setattr("service.client.synchronous.time.sleep", lambda seconds: None)
    return left, httpx.MockTransport(handle)


def test_an_outage_is_told_once_and_waited_out(answers, capsys):
    left, transport = answers
    left += [None, None, None, LISTED]
    with Client("http://127.0.0.1:9", transport) as client:
        assert list(client.server.send(requests.collections())) == []
    told = capsys.readouterr().err
    assert told.count("does not answer") == 1
    assert "trying again for up to 10 minutes" in told
    assert left == []


def test_an_ingress_without_a_server_behind_it_is_told(answers, capsys):
    left, transport = answers
    left += [httpx.Response(503, text="<html>no pod</html>"), LISTED]
    with Client("http://127.0.0.1:9", transport) as client:
        client.server.send(requests.collections())
    assert "is not ready" in capsys.readouterr().err


def test_a_busy_server_is_waited_for_in_silence(answers, capsys):
    left, transport = answers
    left += [BUSY, LISTED]
    with Client("http://127.0.0.1:9", transport) as client:
        client.server.send(requests.collections())
    assert capsys.readouterr().err == ""
