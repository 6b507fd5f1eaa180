"""Start-up time and memory: each stage of loading, in a fresh process, and a whole server until it is ready.

    python -m benchmarks.startup

Files are in the operating system's cache, as they are when a server is restarted; the mini base has been
built before. Memory is the process's resident set: after each stage, and at its peak.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.reporting import Ratio, ratio_rows, show, surroundings, write_results
from benchmarks.running import Device, Dtype, Shape, Threads, describe, engine_settings

PACKAGES = ("torch", "transformers")

# Run with `python -c`, so that what it imports is counted from the interpreter's start.
_STAGES = """
import json, sys, time
began = time.perf_counter()
stages = {}
def stage(name):
    from benchmarks.reporting import resident_bytes
    stages[name] = {"seconds": time.perf_counter() - began, "resident_bytes": resident_bytes()}
from benchmarks.running import engine_settings
from benchmarks.shapes import load_shape
from model.engine import Engine
from model.types import EmbedOptions, Item
stage("imports")
shape, dtype, device, threads = json.loads(sys.argv[1])
settings = engine_settings(dtype, device, threads)
loaded = load_shape(shape, settings)
stage("checkpoint loaded and merged")
engine = Engine(loaded, settings)
stage("engine ready")
del loaded
engine.embed([Item(text="a red bicycle")], EmbedOptions())
stage("first vector")
engine.close()
from benchmarks.reporting import resident_bytes
print(json.dumps({"stages": stages, "peak_bytes": resident_bytes(peak=True)}))
"""


def stages(shape: str, dtype: str, device: str | None, threads: int | None) -> dict[str, Any]:
    """Seconds since the start and memory after each stage of a fresh process."""
    options = json.dumps([shape, dtype, device, threads])
    output = subprocess.run([sys.executable, "-c", _STAGES, options], capture_output=True, check=False)
    if output.returncode:
        raise RuntimeError(output.stderr.decode("utf-8", "replace")[-3000:])
    found: dict[str, Any] = json.loads(output.stdout.splitlines()[-1])
    return found


def server_seconds() -> float:
    """From starting `solomon serve` until it says that it is ready."""
    from benchmarks.http_overhead import server

    with tempfile.TemporaryDirectory() as scratch:
        began = time.perf_counter()
        with server([], Path(scratch)):
            return time.perf_counter() - began


def main(
    shape: Shape = "mini",
    rounds: Annotated[int, typer.Option(min=1, help="Fresh processes; the quickest counts.")] = 3,
    dtype: Dtype = "auto",
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Measure, print a table and write benchmarks/results/startup-SHAPE.json."""
    settings = engine_settings(dtype, device, threads)
    runs = [stages(shape, dtype, device, threads) for _ in range(rounds)]
    best = min(runs, key=lambda run: run["stages"]["first vector"]["seconds"])
    figures = [
        (name, f"{found['seconds']:.2f} s, {found['resident_bytes'] / 2**20:,.0f} MiB")
        for name, found in best["stages"].items()
    ]
    figures.append(("memory at the peak", f"{best['peak_bytes'] / 2**20:,.0f} MiB"))
    ratios = []
    if shape == "mini":
        ready = min(server_seconds() for _ in range(rounds))
        ratios.append(Ratio("seconds until `solomon serve` is ready", ready, ("<=", 15.0)))
    show(f"start-up, {shape}", figures, ratios)
    results = {
        "surroundings": surroundings(PACKAGES) | describe(settings),
        "shape": shape,
        **best,
        "ratios": ratio_rows(ratios),
    }
    typer.echo(f"written to {write_results(f'startup-{shape}', results)}")


if __name__ == "__main__":
    typer.run(main)
