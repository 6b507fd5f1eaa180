import socket

from service.server import run_server


def test_a_port_in_use_is_told(make_settings, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        failure = run_server(make_settings(port=port, checkpoint=tmp_path / "nowhere"))
    assert f"port {port}" in str(failure)
