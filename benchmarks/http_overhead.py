"""HTTP beside the engine alone: the same queries, from the same number of callers.

    python -m benchmarks.http_overhead

A real `solomon serve` in a process of its own, asked over kept-alive connections by threads of this process,
one query a call; and the engine in this process, asked by as many threads, in turns. Bodies are written
before the clock runs and answers are read after it: callers are on other machines as a rule. What else they
do, sending and receiving, takes CPU from the server here, and counts against HTTP.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.reporting import Ratio, ratio_rows, show, surroundings, write_results
from benchmarks.running import (
    ClosedLoop,
    Device,
    Dtype,
    Shape,
    Threads,
    closed_loop,
    describe,
    engine_settings,
    joined,
    percentiles,
)
from benchmarks.shapes import load_shape, save_for_server, trained
from benchmarks.workload import Query, mixed
from model.engine import Engine

PACKAGES = ("torch", "transformers", "fastapi", "uvicorn")
_START_SECONDS = 300


@contextmanager
def server(options: Sequence[str], scratch: Path, **settings: str | None) -> Iterator[int]:
    """A running server's port; it is stopped at the end. `settings` are environment variables."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-c", "from service.cli import main; main()", "serve", "--no-demo"]
    command += ["--port", str(port), "--data-dir", str(scratch / "data"), *options]
    log = (scratch / "server.log").open("wb")
    environment = {**os.environ, **{name: value for name, value in settings.items() if value is not None}}
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
    try:
        _wait_until_ready(port, process, scratch / "server.log")
        yield port
    finally:
        process.terminate()
        process.wait()
        log.close()


def body_of(query: Query, answer_tokens: int) -> bytes:
    """A query as the body of `POST /embed`."""
    item: dict[str, Any] = {}
    if query.item.text is not None:
        item["text"] = query.item.text
    if query.item.image is not None:
        item["image"] = "data:image/png;base64," + base64.b64encode(query.item.image).decode()
    body: dict[str, Any] = {"input": item, "max_augment_tokens": answer_tokens}
    if query.threshold is not None:
        body["augment_threshold"] = query.threshold
    return json.dumps(body).encode()


def ask_server(port: int, bodies: Sequence[bytes], callers: int) -> ClosedLoop:
    """All queries over HTTP. Raises `RuntimeError` for an answer that is not 200, or has no vector."""
    connections = threading.local()

    def call(body: bytes) -> bytes:
        if not hasattr(connections, "own"):
            connections.own = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        connections.own.request("POST", "/embed", body, {"Content-Type": "application/json"})
        response = connections.own.getresponse()
        content = response.read()
        if response.status != 200:
            raise RuntimeError(f"The server answered {response.status}: {content[:500]!r}")
        return content

    loop, answers = closed_loop(bodies, call, callers)
    for answer in map(json.loads, answers):
        if not answer["data"][0]["embedding"]:
            raise RuntimeError(f"An answer has no vector: {answer}")
    return loop


def in_turns(
    port: int,
    engine: Engine,
    warm: Sequence[Query],
    workload: Sequence[Query],
    callers: int,
    answer_tokens: int,
    rounds: int,
) -> tuple[ClosedLoop, ClosedLoop]:
    """The workload over HTTP and by the engine, one after the other, `rounds` times."""

    def ask(query: Query) -> None:
        engine.submit(query.item, query.options(answer_tokens=answer_tokens)).result()

    def over_http(queries: Sequence[Query]) -> ClosedLoop:
        return ask_server(port, [body_of(query, answer_tokens) for query in queries], callers)

    def alone(queries: Sequence[Query]) -> ClosedLoop:
        return closed_loop(queries, ask, callers)[0]

    turns: dict[Callable[[Sequence[Query]], ClosedLoop], list[ClosedLoop]] = {over_http: [], alone: []}
    for side in turns:
        side(warm)
    for _ in range(rounds):
        for side, loops in turns.items():
            loops.append(side(workload))
    engine.close()
    return joined(turns[over_http]), joined(turns[alone])


def _wait_until_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"The server did not become ready:\n{log.read_text('utf-8', 'replace')[-3000:]}")


def main(
    shape: Shape = "mini",
    queries: Annotated[int, typer.Option(min=2, help="Queries for each side.")] = 192,
    callers: Annotated[int, typer.Option(min=1, help="Callers at once.")] = 16,
    answer_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 16,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each side.")] = 5,
    dtype: Dtype = "auto",
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Measure, print a table and write benchmarks/results/http_overhead-SHAPE.json."""
    settings = engine_settings(dtype, device, threads)
    loaded = load_shape(shape, settings)
    workload = mixed(queries, trained(shape))
    warm = mixed(callers, trained(shape), seed=1)
    environment = {
        "SOLOMON_DTYPE": dtype,
        "SOLOMON_DEVICE": device,
        "SOLOMON_THREADS": None if threads is None else str(threads),
    }
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        served = save_for_server(shape, loaded, scratch / "model")
        with server(served, scratch, **environment) as port:
            engine = Engine(loaded, settings)
            over_http, alone = in_turns(port, engine, warm, workload, callers, answer_tokens, rounds)
    ratios = [Ratio("throughput, HTTP / engine", over_http.rate / alone.rate, (">=", 0.9))]
    figures = [
        ("HTTP, queries/s", f"{over_http.rate:.2f}"),
        ("engine, queries/s", f"{alone.rate:.2f}"),
        ("HTTP, mean ms", f"{1e3 * over_http.mean:.1f}"),
        ("engine, mean ms", f"{1e3 * alone.mean:.1f}"),
    ]
    show(f"HTTP against the engine, {shape}, {callers} callers", figures, ratios)
    results = {
        "surroundings": surroundings(PACKAGES) | describe(settings),
        "shape": shape,
        "queries": queries,
        "rounds": rounds,
        "callers": callers,
        "http": {"queries_per_second": over_http.rate, **percentiles(over_http.latencies)},
        "engine": {"queries_per_second": alone.rate, **percentiles(alone.latencies)},
        "ratios": ratio_rows(ratios),
    }
    typer.echo(f"written to {write_results(f'http_overhead-{shape}', results)}")


if __name__ == "__main__":
    typer.run(main)
