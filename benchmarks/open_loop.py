"""An open-loop load test: Poisson arrivals at rising rates, latency by route, for three policies.

    python -m benchmarks.open_loop

Callers of an open loop do not wait for one another, so queues grow as they do in production. The rate at
which the engine saturates is measured first, for each policy, with as many callers as it likes; then
queries arrive at shares of it: adaptive (the model decides), forced to `/augment` and forced to `/embed`.
Latency runs from the moment at which a query was due, so a load that the engine cannot take shows. The
unloaded time is that of the same queries one after the other. The plot is latency over throughput.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.reporting import RESULTS, Ratio, ratio_rows, show, surroundings, write_results
from benchmarks.running import (
    Device,
    Dtype,
    Shape,
    Threads,
    closed_loop,
    describe,
    engine_settings,
    percentiles,
)
from benchmarks.shapes import load_shape, trained
from benchmarks.workload import Query, mixed
from model.engine import Engine
from model.types import Embedding, Route, RouteChoice

PACKAGES = ("torch", "transformers", "numpy", "matplotlib")
POLICIES = {
    "adaptive": RouteChoice.AUTO,
    "forced_augment": RouteChoice.AUGMENT,
    "forced_embed": RouteChoice.EMBED,
}
SATURATING_CALLERS = 64
TARGET_LOAD = 0.7


class OpenLoop:
    """Sends queries at the instants of a Poisson process, and keeps each one's latency and route."""

    def __init__(self, engine: Engine, route: RouteChoice, answer_tokens: int) -> None:
        self._engine = engine
        self._route = route
        self._answer_tokens = answer_tokens
        self._latencies: dict[str, list[float]] = defaultdict(list)

    def run(self, queries: Sequence[Query], rate: float, seed: int) -> dict[str, Any]:
        """Percentiles by route at `rate` queries a second, and the throughput that came of it."""
        drawn = random.Random(seed)
        began = due = time.monotonic()
        futures: list[Future[Embedding]] = []
        for query in queries:
            due += drawn.expovariate(rate)
            time.sleep(max(0.0, due - time.monotonic()))
            future = self._engine.submit(query.item, query.options(self._route, self._answer_tokens))
            future.add_done_callback(lambda done, due=due: self._record(done, due))
            futures.append(future)
        wait(futures)
        seconds = time.monotonic() - began
        return {
            "offered_per_second": rate,
            "queries_per_second": len(queries) / seconds,
            "all": percentiles([latency for found in self._latencies.values() for latency in found]),
            "by_route": {route: percentiles(found) for route, found in sorted(self._latencies.items())},
        }

    def _record(self, done: Future[Embedding], due: float) -> None:
        route = done.result().route
        self._latencies[str(route)].append(time.monotonic() - due)


def saturation(engine: Engine, queries: Sequence[Query], route: RouteChoice, answer_tokens: int) -> float:
    """Queries a second with so many callers that the engine never waits."""

    def ask(query: Query) -> Embedding:
        return engine.submit(query.item, query.options(route, answer_tokens)).result()

    closed_loop(queries[:8], ask, 8)
    return closed_loop(queries, ask, SATURATING_CALLERS)[0].rate


def unloaded(
    engine: Engine, queries: Sequence[Query], route: RouteChoice, answer_tokens: int
) -> dict[str, Any]:
    """Percentiles by route of queries that come one after the other."""
    latencies: dict[str, list[float]] = defaultdict(list)
    for query in queries:
        began = time.monotonic()
        embedding = engine.submit(query.item, query.options(route, answer_tokens)).result()
        latencies[str(embedding.route)].append(time.monotonic() - began)
    return {name: percentiles(found) for name, found in latencies.items()}


def plot(policies: dict[str, Any], path: Path) -> None:
    """Mean and p99 latency over throughput, a line for each policy."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for name, found in policies.items():
        rates = [point["queries_per_second"] for point in found["loads"]]
        for axis, figure_name in zip(axes, ("mean_ms", "p99_ms"), strict=True):
            heights = [point["all"][figure_name] for point in found["loads"]]
            axis.plot(rates, heights, marker="o", label=name.replace("_", " "))
            axis.set(xlabel="queries a second", ylabel=f"{figure_name[:-3]} latency, ms", yscale="log")
    axes[0].legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main(
    shape: Shape = "mini",
    seconds: Annotated[float, typer.Option(min=0.2, help="How long queries arrive, at each load.")] = 9.0,
    loads: Annotated[str, typer.Option(help="Shares of saturation, comma-separated.")] = "0.3,0.5,0.7,0.9",
    probe: Annotated[int, typer.Option(min=8, help="Queries that find the saturation.")] = 128,
    answer_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 16,
    dtype: Dtype = "auto",
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Measure, print a table, write benchmarks/results/open_loop-SHAPE.json and a plot beside it."""
    settings = engine_settings(dtype, device, threads)
    engine = Engine(load_shape(shape, settings), settings)
    shares = sorted({*map(float, loads.split(",")), TARGET_LOAD})
    queries = mixed(probe, trained(shape))
    policies: dict[str, Any] = {}
    for name, route in POLICIES.items():
        rate = saturation(engine, queries, route, answer_tokens)
        # Queries not seen before, so that pictures are encoded and not remembered as far as they go.
        alone = unloaded(engine, mixed(min(probe, 32), trained(shape), seed=2), route, answer_tokens)
        points = []
        for number, share in enumerate(shares):
            count = max(8, round(share * rate * seconds))
            arriving = mixed(count, trained(shape), seed=3 + number)
            loop = OpenLoop(engine, route, answer_tokens)
            points.append({"share": share, **loop.run(arriving, share * rate, seed=number)})
        policies[name] = {"saturation_per_second": rate, "unloaded": alone, "loads": points}
    engine.close()
    embed = str(Route.EMBED)
    adaptive = policies["adaptive"]
    ratios = []
    at_target = next(point for point in adaptive["loads"] if point["share"] == TARGET_LOAD)
    if embed in at_target["by_route"] and embed in adaptive["unloaded"]:
        p99, alone = at_target["by_route"][embed]["p99_ms"], adaptive["unloaded"][embed]
        name = f"p99 of /embed-routed at {TARGET_LOAD:.0%} of saturation / unloaded"
        ratios.append(Ratio(f"{name} p50", p99 / alone["p50_ms"], ("<=", 3.0)))
        ratios.append(Ratio(f"{name} p99", p99 / alone["p99_ms"]))
    figures = []
    for name, found in policies.items():
        figures.append(
            (f"{name.replace('_', ' ')}: saturates at, queries/s", f"{found['saturation_per_second']:.1f}")
        )
        for point in found["loads"]:
            for route, row in point["by_route"].items():
                label = f"  {point['share']:.0%}, {route}: p50, p90, p99 ms"
                figures.append((label, f"{row['p50_ms']:.0f}, {row['p90_ms']:.0f}, {row['p99_ms']:.0f}"))
    show(f"open loop, {shape}", figures, ratios)
    RESULTS.mkdir(exist_ok=True)
    plot(policies, RESULTS / f"open_loop-{shape}.png")
    results = {
        "surroundings": surroundings(PACKAGES) | describe(settings),
        "shape": shape,
        "answer_tokens": answer_tokens,
        "policies": policies,
        "ratios": ratio_rows(ratios),
    }
    typer.echo(f"written to {write_results(f'open_loop-{shape}', results)}")


if __name__ == "__main__":
    typer.run(main)
