"""Which product of a few rows with a weight matrix is quickest here: why decode steps use what they use.

    python -m benchmarks.step_products

The decoder's own four projections and its head, solomon-mini's or another shape's, each in so many copies
that no cache holds them, multiplied with 1, 4 and 16 rows by

- `float32`, `bfloat16`: torch's own products of that dtype;
- `float16 packed`: FBGEMM's, which comes with torch on x86: float32 activations;
- `int8`: torch's weight-only product, a scale for each output, float32 activations;
- `kernels`: ours (`model/native_step.py`), a scale for every 64 weights, int16 activations.

Beside the time it says how far each product is from float32's, as 1 - cosine.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Annotated, Any

import torch
import torch.nn.functional as F
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.reporting import surroundings, write_results
from benchmarks.running import Threads, engine_settings
from model.kernels.library import instruction_set
from model.native_step import NativeStep, StepShape, quantised

# (out, in) of solomon-mini's fused projections and of its head.
SHAPES = {
    "qkv": (960, 576),
    "out": (576, 576),
    "gate_up": (3072, 576),
    "down": (576, 1536),
    "head": (49_216, 576),
}
ROWS = (1, 4, 16)
_COPIES_BYTES = 2**28  # of float32 weights, several times any cache of a small machine
Product = Callable[[Tensor, int], Tensor]


def products(weights: list[Tensor]) -> dict[str, Product]:
    """Every way to multiply float32 rows with the n-th weight."""
    brief = [weight.bfloat16() for weight in weights]
    scales = [weight.abs().amax(1) / 127 for weight in weights]
    whole = [(w / s[:, None]).round().to(torch.int8) for w, s in zip(weights, scales, strict=True)]
    ways: dict[str, Product] = {
        "float32": lambda rows, n: F.linear(rows, weights[n]),
        "bfloat16": lambda rows, n: F.linear(rows.bfloat16(), brief[n]).float(),
        "int8": lambda rows, n: torch.ops.aten._weight_int8pack_mm(rows, whole[n], scales[n]),
    }
    if torch.backends.quantized.engine in ("x86", "fbgemm"):
        packed = [torch.ops.quantized.linear_prepack_fp16(weight, None) for weight in weights]
        ways["float16 packed"] = lambda rows, n: torch.ops.quantized.linear_dynamic_fp16(rows, packed[n])
    if instruction_set() is not None:
        steps = [_step_of(weight) for weight in weights]
        ways["kernels"] = lambda rows, n: steps[n].logits(rows)
    return ways


def _step_of(weight: Tensor) -> NativeStep:
    """A decode step that has nothing but this one product."""
    width = weight.shape[1]
    shape = StepShape(hidden=width, intermediate=16, heads=1, kv_heads=1, head_dim=16)
    return NativeStep(shape, [], torch.ones(width), quantised(weight), 1e-6, torch.get_num_threads())


def measure(
    out: int, width: int, rows: int, rounds: int, copies_bytes: int = _COPIES_BYTES
) -> dict[str, Any]:
    """Median microseconds of one product, and 1 - cosine against float32, by way."""
    torch.manual_seed(0)
    copies = max(1, copies_bytes // (4 * out * width))
    ways = products([torch.randn(out, width) * 0.05 for _ in range(copies)])
    states = torch.randn(rows, width)
    expected = ways["float32"](states, 0)
    found: dict[str, Any] = {}
    for name, way in ways.items():
        times = []
        for _ in range(rounds + 1):
            began = time.perf_counter()
            for number in range(copies):
                way(states, number)
            times.append((time.perf_counter() - began) / copies)
        distance = 1 - F.cosine_similarity(way(states, 0), expected).min().item()
        found[name] = {"microseconds": 1e6 * statistics.median(times[1:]), "distance": distance}
    return found


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Passes over all copies; medians count.")] = 3,
    threads: Threads = None,
) -> None:
    """Measure on the CPU, print a table and write benchmarks/results/step_products.json."""
    settings = engine_settings("float32", "cpu", threads)
    measured: dict[str, dict[str, Any]] = {}
    for name, (out, width) in SHAPES.items():
        measured[name] = {str(rows): measure(out, width, rows, rounds) for rows in ROWS}
    ways = list(measured["qkv"]["1"])
    table = Table(title="products of few rows, microseconds (1 - cosine)")
    for heading in ("weight", "rows", *ways):
        table.add_column(heading, justify="left" if heading == "weight" else "right")
    for name, by_rows in measured.items():
        for rows, found in by_rows.items():
            cells = [f"{found[way]['microseconds']:,.0f} ({found[way]['distance']:.0e})" for way in ways]
            table.add_row(name, rows, *cells)
    Console().print(table)
    results = {
        "surroundings": surroundings(("torch",)),
        "torch_threads": settings.thread_count(),
        "weights": {name: list(shape) for name, shape in SHAPES.items()},
        "products": measured,
    }
    typer.echo(f"written to {write_results('step_products', results)}")


if __name__ == "__main__":
    typer.run(main)
