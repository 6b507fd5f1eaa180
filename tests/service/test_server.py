import socket

from service.server import Server, run_server
from service.tracing import NO_TRACING


def test_a_port_in_use_is_told(make_settings, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        failure = run_server(make_settings(port=port, checkpoint=tmp_path / "nowhere"))
    assert f"port {port}" in str(failure)


def test_what_a_caller_says_of_its_address_is_not_taken_for_it(make_settings):
    """Even from loopback, which uvicorn would trust by itself: the log would hold whatever it says."""
    assert not Server(make_settings(), NO_TRACING)._server.config.proxy_headers
