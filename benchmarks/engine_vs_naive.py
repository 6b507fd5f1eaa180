"""The engine beside the naive pipeline, and what routing costs.

    python -m benchmarks.engine_vs_naive
    python -m benchmarks.engine_vs_naive --shape qwen2-vl-7b --queries 256

In one run, on one set of weights, dtype and threads:

- **throughput**: a mixed workload with the route left to the model, 16 callers at the engine, beside
  `naive_pipeline.py`, which gets all queries at once and sorts them into batches of 16. Both sides' vectors
  are compared;
- **adaptive routing's price**: mean latency of the same workload adaptive, forced to `/embed` and forced to
  `/augment`. Adaptive may cost the augmented share of what augmenting everything costs;
- **the decision's price**: captions routed to `/embed` by the model, beside the bare pass over prompt and EOS
  that takes no decision and keeps nothing, alone and sixteen at a time.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
import typer

from benchmarks.naive_pipeline import NaivePipeline, NaiveResult
from benchmarks.reporting import Ratio, ratio_rows, show, surroundings, write_results
from benchmarks.running import (
    ClosedLoop,
    Device,
    Dtype,
    Shape,
    Threads,
    alternating,
    closed_loop,
    describe,
    engine_settings,
    joined,
    percentiles,
)
from benchmarks.shapes import load_shape, trained
from benchmarks.workload import Query, captions, mixed
from model.engine import Engine, EngineSettings
from model.engine.preparation import Preparer
from model.engine.request import Request
from model.engine.runner import Runner
from model.loaded import LoadedModel
from model.rope import prompt_positions
from model.types import Embedding, Route, RouteChoice

PACKAGES = ("torch", "transformers", "numpy")
POLICIES = {
    "adaptive": RouteChoice.AUTO,
    "forced_embed": RouteChoice.EMBED,
    "forced_augment": RouteChoice.AUGMENT,
}


def ask_engine(
    engine: Engine, queries: Sequence[Query], route: RouteChoice, callers: int, answer_tokens: int
) -> tuple[ClosedLoop, list[Embedding]]:
    """All queries through the engine, each caller waiting for its answer."""
    return closed_loop(
        queries,
        lambda query: engine.submit(query.item, query.options(route, answer_tokens)).result(),
        callers,
    )


def agreement(naive: Sequence[NaiveResult], ours: Sequence[Embedding]) -> dict[str, float]:
    """How alike the two sides' answers are: equal routes, and the vectors' least and mean cosine."""
    same = [one.route is other.route for one, other in zip(naive, ours, strict=True)]
    cosines = [float(one.vector @ other.vector) for one, other in zip(naive, ours, strict=True)]
    return {
        "same_route": float(np.mean(same)),
        "mean_cosine": float(np.mean(cosines)),
        "median_cosine": float(np.median(cosines)),
        "least_cosine": float(np.min(cosines)),
    }


def decision_price(
    loaded: LoadedModel, settings: EngineSettings, callers: int, batch: int, rounds: int
) -> dict[str, float]:
    """Seconds of `callers` captions, `batch` at a time, with the decision and without, on this thread."""
    preparer, runner = Preparer(loaded, settings), Runner(loaded, settings)
    queries = [Query("caption", item, 1.0) for item in captions()[:callers]]
    requests = [preparer.prepare(query.item, query.options(), None) for query in queries]
    batches = [requests[start : start + batch] for start in range(0, callers, batch)]
    with torch.inference_mode():
        routed, bare = alternating(
            [
                lambda: [runner.prefill(some) for some in batches],
                lambda: [bare_pass(runner, some) for some in batches],
            ],
            runner.device,
            rounds,
        )
    return {"routed_seconds": routed, "bare_seconds": bare, "ratio": routed / bare}


def bare_pass(runner: Runner, requests: Sequence[Request]) -> np.ndarray[Any, Any]:
    """Unit vectors of `prompt + EOS` and nothing else: the same weights and kernels without routing."""
    sequences = [[*request.ids, runner.routes.eos_id] for request in requests]
    longest = max(map(len, sequences))
    ids = torch.zeros(len(sequences), longest, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
    positions = prompt_positions(longest, None)[:, None].expand(3, len(sequences), longest)
    ends = torch.tensor([[len(sequence) - 1] for sequence in sequences], device=runner.device)
    hidden, _ = runner.decoder.prefill(
        runner.decoder.embed(ids.to(runner.device)),
        positions.to(runner.device),
        ends,
        [len(sequence) for sequence in sequences],
    )
    return F.normalize(hidden[:, 0], dim=-1).cpu().numpy()


def _seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def main(
    shape: Shape = "mini",
    queries: Annotated[int, typer.Option(min=4, help="Queries of the mixed workload.")] = 128,
    callers: Annotated[int, typer.Option(min=1, help="Callers at once, and the naive batch size.")] = 16,
    answer_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 16,
    turns: Annotated[int, typer.Option(min=1, help="How often each side takes its turn.")] = 3,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of the decision's price.")] = 15,
    dtype: Dtype = "auto",
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Measure, print a table and write benchmarks/results/engine_vs_naive-SHAPE.json."""
    settings = engine_settings(dtype, device, threads)
    loaded = load_shape(shape, settings)
    workload = mixed(queries, trained(shape))
    warm = mixed(callers, trained(shape), seed=1)

    naive = NaivePipeline(loaded, callers, answer_tokens)
    naive.run(warm[:4])

    # In turns: means that are subtracted from one another have to be of the same minutes.
    naive_times, loops = [], defaultdict[str, list[ClosedLoop]](list)
    for _ in range(turns):
        seconds, naive_results = _seconds(lambda: naive.run(workload))
        naive_times.append(seconds)
        for name, route in POLICIES.items():
            # A fresh engine each time: images that an earlier round has encoded must not be remembered.
            engine = Engine(loaded, settings)
            ask_engine(engine, warm, route, callers, answer_tokens)
            loop, answers = ask_engine(engine, workload, route, callers, answer_tokens)
            engine.close()
            loops[name].append(loop)
            if name == "adaptive":
                ours = answers
    naive_seconds = statistics.fmean(naive_times)
    measured = {name: joined(found) for name, found in loops.items()}
    adaptive, answers = measured["adaptive"], ours
    share = float(np.mean([answer.route is Route.AUGMENT for answer in answers]))
    floor = measured["forced_embed"].mean
    extra = adaptive.mean - floor
    allowed = share * (measured["forced_augment"].mean - floor)
    alone = decision_price(loaded, settings, callers, 1, rounds)
    together = decision_price(loaded, settings, callers, callers, rounds)
    ratios = [
        Ratio("throughput, engine / naive", adaptive.rate * naive_seconds / queries, (">=", 3.0)),
        Ratio("a query routed to /embed / a bare pass, alone", alone["ratio"], ("<=", 1.1)),
        Ratio(f"the same, {callers} at a time", together["ratio"], ("<=", 1.1)),
    ]
    if allowed > 0:  # else augmenting costs nothing, and there is nothing to compare with
        name = "adaptive's extra latency / augmented share of forced-augment's"
        ratios.insert(1, Ratio(name, extra / allowed, ("<=", 1.1)))
    same = agreement(naive_results, answers)
    figures = [
        ("naive pipeline, queries/s", f"{queries / naive_seconds:.2f}"),
        *[(f"engine, {name.replace('_', ' ')}, queries/s", f"{r.rate:.2f}") for name, r in measured.items()],
        *[
            (f"engine, {name.replace('_', ' ')}, mean ms", f"{1e3 * r.mean:.1f}")
            for name, r in measured.items()
        ],
        ("augmented share", f"{share:.2f}"),
        ("same route as the naive pipeline", f"{same['same_route']:.3f}"),
        (
            "cosine with its vectors, median and least",
            f"{same['median_cosine']:.6f}, {same['least_cosine']:.3f}",
        ),
    ]
    show(f"engine against the naive pipeline, {shape}, {callers} callers", figures, ratios)
    results = {
        "surroundings": surroundings(PACKAGES) | describe(settings),
        "shape": shape,
        "queries": queries,
        "callers": callers,
        "answer_tokens": answer_tokens,
        "turns": turns,
        "augmented_share": share,
        "naive_queries_per_second": queries / naive_seconds,
        "engine": {
            name: {"queries_per_second": r.rate, **percentiles(r.latencies)} for name, r in measured.items()
        },
        "decision_price": {"alone": alone, "together": together},
        "agreement": same,
        "ratios": ratio_rows(ratios),
    }
    typer.echo(f"written to {write_results(f'engine_vs_naive-{shape}', results)}")


if __name__ == "__main__":
    typer.run(main)
