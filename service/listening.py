"""Whether an address can be listened on, asked before anything slow begins."""

from __future__ import annotations

import errno
import socket


def why_not_listen(host: str, port: int) -> str | None:
    """Why `host` and `port` cannot be listened on; None if they can, or if any free port will do (0)."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        return f"{host} is no address of this machine ({error.strerror or error}); choose another --host"
    for family, kind, protocol, _, address in found:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server itself will
            try:
                probe.bind(address)
            except OSError as error:
                return _reason(error, host, port)
    return None


def _reason(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use; stop what listens there, or choose another --port"
    if error.errno == errno.EACCES:
        return f"port {port} is reserved for the system; choose a --port above 1023"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this machine; choose another --host"
    return f"port {port} of {host} cannot be listened on ({error.strerror}); choose another --port"
