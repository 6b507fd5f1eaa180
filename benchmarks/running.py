"""Options that the benchmarks share, and the ways in which they time things."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

import numpy as np
import torch
import typer

from model.engine.settings import EngineSettings

Shape = Annotated[str, typer.Option(help="mini, qwen2-vl-7b, qwen2-vl-2b (random weights) or tiny.")]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16, or auto: what the hardware computes in.")]
Device = Annotated[str | None, typer.Option(help="A torch device; unset: CUDA where there is any.")]
Threads = Annotated[int | None, typer.Option(help="CPU threads; unset: the cores of the process.")]
T = TypeVar("T")
R = TypeVar("R")


def engine_settings(dtype: str, device: str | None, threads: int | None) -> EngineSettings:
    """Settings of the engine under test, with this process's threads set alike."""
    settings = EngineSettings(dtype=dtype, device=device, threads=threads, max_queue=100_000)
    torch.set_num_threads(settings.thread_count())
    return settings


def describe(settings: EngineSettings) -> dict[str, str | int]:
    """What the settings came to on this machine."""
    device = settings.torch_device()
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "dtype": str(settings.torch_dtype()).removeprefix("torch."),
        "torch_threads": torch.get_num_threads(),
    }


def synchronize(device: torch.device) -> None:
    """Wait for the GPU; nothing on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def alternating(
    works: Sequence[Callable[[], object]], device: torch.device, rounds: int, warm: int = 1
) -> list[float]:
    """The median seconds of each piece of work; they take turns, so that all see the same machine."""
    taken: list[list[float]] = [[] for _ in works]
    for turn in range(warm + rounds):
        for work, times in zip(works, taken, strict=True):
            synchronize(device)
            began = time.perf_counter()
            work()
            synchronize(device)
            if turn >= warm:
                times.append(time.perf_counter() - began)
    return [statistics.median(times) for times in taken]


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """What a number of callers who each wait for their answer saw."""

    seconds: float
    latencies: list[float]

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    @property
    def mean(self) -> float:
        """Mean latency in seconds."""
        return statistics.fmean(self.latencies)


def joined(loops: Sequence[ClosedLoop]) -> ClosedLoop:
    """Several runs as one: their seconds and their latencies together."""
    return ClosedLoop(sum(loop.seconds for loop in loops), [one for loop in loops for one in loop.latencies])


def closed_loop(work: Sequence[T], call: Callable[[T], R], callers: int) -> tuple[ClosedLoop, list[R]]:
    """`callers` threads take pieces of work one after the other; results are in the order of the work."""
    results: dict[int, R] = {}
    latencies: dict[int, float] = {}
    failures: list[BaseException] = []
    numbers = iter(range(len(work)))
    lock = threading.Lock()

    def take() -> None:
        while not failures:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            began = time.perf_counter()
            try:
                results[number] = call(work[number])
            except BaseException as error:
                failures.append(error)
            latencies[number] = time.perf_counter() - began

    threads = [threading.Thread(target=take) for _ in range(callers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    if failures:
        raise failures[0]
    numbered = range(len(work))
    return ClosedLoop(seconds, [latencies[number] for number in numbered]), [results[n] for n in numbered]


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p90, p99 and the mean, in milliseconds."""
    p50, p90, p99 = np.percentile(seconds, [50, 90, 99]) * 1000
    return {
        "p50_ms": round(float(p50), 2),
        "p90_ms": round(float(p90), 2),
        "p99_ms": round(float(p99), 2),
        "mean_ms": round(1000 * statistics.fmean(seconds), 2),
        "count": len(seconds),
    }
