"""Where the server would listen, and whether one answers already."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from service.client import ClientError, Patience, ServerProblem, Solomon
from service.doctor.findings import Finding, good, missing, note
from service.listening import why_not_listen
from service.settings import Settings

_PATIENCE = Patience(seconds=0)
_TIMEOUT_SECONDS = 5.0
_PORTS = {"http": 80, "https": 443}


def examine_serving(settings: Settings, url: str) -> Iterator[Finding]:
    """Findings about the server at `url`, and about the address to listen on."""
    running = _server(url)
    yield running or note("server", f"none answers at {url}", "`solomon serve` starts one.")
    refused = why_not_listen(settings.host, settings.port)
    here = f"{settings.host}:{settings.port}"
    if refused is None:
        yield good("address", f"{here} can be listened on")
    elif running is not None and listens_at(url, settings.host, settings.port):
        yield good("address", f"{here} is the running server's")
    else:
        yield missing("address", refused, "`solomon serve --port 0` takes a free port.")


def listens_at(url: str, host: str, port: int) -> bool:
    """Whether who listens on `host` and `port` of this machine is who answers at a URL."""
    try:
        parts = urlsplit(url)
        given = parts.port or _PORTS.get(parts.scheme)
    except ValueError:  # the port is no number
        return False
    if given != port:
        return False
    asked, own = _addresses(parts.hostname or ""), _addresses(host.strip("[]"))
    if any(ipaddress.ip_address(address).is_unspecified for address in own):  # every address of this machine
        return any(_is_of_this_machine(address) for address in asked)
    return bool(asked & own)


def _addresses(host: str) -> frozenset[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return frozenset()
    return frozenset(str(entry[4][0]).partition("%")[0] for entry in found)


def _is_of_this_machine(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def _server(url: str) -> Finding | None:
    with Solomon(url, patience=_PATIENCE, timeout=_TIMEOUT_SECONDS) as solomon:
        try:
            info = solomon.info()
        except ServerProblem as problem:
            return note("server", f"{url} answers {problem.status}: {problem}")
        except ClientError:
            return None
    return good("server", f"{url} serves {info.model['name']} with version {info.version}")
