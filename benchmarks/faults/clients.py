"""Clients that are slow, go half away or wholly, or send much at once; honest ones must not notice."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections import Counter
from collections.abc import Iterator

import httpx

from benchmarks.faults.report import Report, quantile
from benchmarks.faults.target import Target

_CALL = {"input": "an honest client's question", "route": "embed"}
_BODY = json.dumps(_CALL).encode()
_HEAD = b"POST /embed HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
_LARGE = 30 * 2**20
_TOTAL = 64 * 2**20
_SLACK = 96 * 2**20  # what a server may take above its bodies: copies while parsing, and what malloc keeps
_LEFT = 2  # connections of the measuring client

BAD_CLIENTS_SETTINGS = {"SOLOMON_BODY_TIMEOUT_SECONDS": "2"}
FLOOD_SETTINGS = {"SOLOMON_MAX_TOTAL_BODY_BYTES": str(_TOTAL)}


def _whole() -> bytes:
    return _HEAD + f"Content-Length: {len(_BODY)}\r\n\r\n".encode() + _BODY


def _connect(target: Target) -> socket.socket:
    return socket.create_connection(("127.0.0.1", target.port), timeout=30)


def misbehave(target: Target, kind: str) -> socket.socket | None:
    """Be one bad client; its connection, if it is to be left open."""
    connection = _connect(target)
    if kind == "drips its head":
        connection.sendall(_HEAD[:20])
        return connection
    if kind == "drips its body":
        connection.sendall(_HEAD + b"Content-Length: 1000\r\n\r\n" + _BODY[:10])
        return connection
    if kind == "does not read":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 20)
        return connection
    if kind == "half closes":
        connection.sendall(_whole())
        connection.shutdown(socket.SHUT_WR)
        return connection
    if kind == "vanishes in its head":
        connection.sendall(_HEAD)
    elif kind == "vanishes in its body":
        connection.sendall(_HEAD + b"Content-Length: 1000\r\n\r\n" + _BODY[:10])
    elif kind == "vanishes before its answer":
        connection.sendall(_whole())
    elif kind == "sends noise":
        connection.sendall(bytes(range(256)) * 8)
    connection.close()
    return None


KINDS = (
    "drips its head",
    "drips its body",
    "does not read",
    "half closes",
    "vanishes in its head",
    "vanishes in its body",
    "vanishes before its answer",
    "sends noise",
)


def bad_clients(target: Target, rounds: int) -> Report:
    """`rounds` of every kind of bad client, while an honest one calls after each."""
    report = Report("clients")
    statuses: Counter[int] = Counter()
    seconds: list[float] = []
    with target.client() as client:
        client.post("/embed", json=_CALL)
        files, threads, resident = target.open_files(), target.threads(), target.resident_bytes()
        with contextlib.ExitStack() as left_open:
            for _ in range(rounds):
                for kind in KINDS:
                    connection = misbehave(target, kind)
                    if connection is not None:
                        left_open.enter_context(connection)
                    began = time.perf_counter()
                    statuses[client.post("/embed", json=_CALL).status_code] += 1
                    seconds.append(time.perf_counter() - began)
            # Those that are still connected are let go by the server, not by us.
            waited, left = _wait_for_files(target, files + _LEFT, limit=90.0)
        report.figures = {
            "bad_clients": rounds * len(KINDS),
            "honest_statuses": {str(status): count for status, count in statuses.items()},
            "honest_p50_seconds": round(quantile(seconds, 0.5), 4),
            "honest_p99_seconds": round(quantile(seconds, 0.99), 4),
            "files_before": files,
            "files_after": left,
            "seconds_until_let_go": round(waited, 1),
            "threads_before": threads,
            "threads_after": target.threads(),
            "memory_growth_mib": round((target.resident_bytes() - resident) / 2**20, 1),
        }
    report.expect(set(statuses) == {200}, "every honest call is answered")
    report.expect(left <= files + _LEFT, "no connection of a bad client is kept")
    return report


def _wait_for_files(target: Target, wanted: int, limit: float) -> tuple[float, int]:
    began = time.monotonic()
    while target.open_files() > wanted and time.monotonic() - began < limit:
        time.sleep(0.1)
    return time.monotonic() - began, target.open_files()


def flood_of_bodies(target: Target, clients: int) -> Report:
    """`clients` send 30 MiB each, all but the last byte, at once: what memory holds is bounded."""
    report = Report("bodies")
    with target.client() as client:
        client.post("/embed", json=_CALL)
        refused_before = _refused(client)
        before = target.resident_bytes()
        answers: Counter[str] = Counter()
        peak = before
        with contextlib.ExitStack() as open_ones:
            connections = [open_ones.enter_context(_connect(target)) for _ in range(clients)]
            for connection in connections:
                connection.sendall(_HEAD + f"Content-Length: {_LARGE}\r\n\r\n".encode())
            for connection in connections:
                for part in _parts(_LARGE - 1):
                    try:
                        connection.sendall(part)
                    except OSError:  # refused, and closed
                        break
                peak = max(peak, target.resident_bytes())
            answered = client.post("/embed", json=_CALL).status_code
            for connection in connections:
                answers[_first_word(connection)] += 1
        refused = _refused(client) - refused_before
        report.figures = {
            "clients": clients,
            "megabytes_offered": round(clients * _LARGE / 1e6),
            "allowed_mib": _TOTAL / 2**20,
            "memory_growth_mib": round((peak - before) / 2**20, 1),
            "answers": dict(answers),
            "refused": refused,
            "an_honest_small_call": answered,
        }
    report.expect(peak - before < _TOTAL + _SLACK, "memory is bounded by max_total_body_bytes")
    report.expect(refused > 0, "what does not fit is refused")
    report.expect(answered == 200, "a small call is answered meanwhile")
    return report


def _refused(client: httpx.Client) -> float:
    """Bodies that were refused because others filled the memory, since the server's start."""
    for line in client.get("/metrics").text.splitlines():
        if line.startswith('solomon_rejected_total{reason="bodies-full"}'):
            return float(line.split()[1])
    return 0.0


def _parts(size: int) -> Iterator[bytes]:
    part = b" " * 2**20
    while size > 0:
        yield part[:size]
        size -= len(part)


def _first_word(connection: socket.socket) -> str:
    """The status that a connection was answered, or why there is none."""
    connection.settimeout(0.5)
    try:
        answer = connection.recv(64)
    except TimeoutError:
        return "held"
    except OSError:
        return "closed"
    return answer.split()[1].decode() if answer else "closed"


def recovers(client: httpx.Client, within: float) -> float:
    """Seconds until a plain call is answered again; `within` at the most."""
    began = time.monotonic()
    while time.monotonic() - began < within:
        with contextlib.suppress(httpx.HTTPError):
            if client.post("/embed", json=_CALL).status_code == 200:
                break
        time.sleep(0.05)
    return time.monotonic() - began
