"""A port that is taken is told before the model loads."""

import socket

import pytest
from typer.testing import CliRunner

from service.cli import app
from service.listening import why_not_listen


@pytest.fixture
def taken():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_that_is_taken_and_one_that_is_free(taken):
    assert "in use" in why_not_listen("127.0.0.1", taken)
    assert why_not_listen("127.0.0.1", 0) is None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    assert why_not_listen("127.0.0.1", free) is None


def test_an_address_of_another_machine():
    assert "no address of this machine" in why_not_listen("192.0.2.1", 8080)


def test_serve_tells_it_before_anything_is_opened(taken, tmp_path, monkeypatch):
    def never(settings):
        raise AssertionError("the server was started")

    monkeypatch.setattr("service.server.run_server", never)
    data = tmp_path / "data"
    refused = CliRunner().invoke(app, ["serve", "--port", str(taken), "--data-dir", str(data)])
    assert refused.exit_code == 1
    assert f"port {taken} of 127.0.0.1 is in use" in refused.output
    assert not data.exists()
