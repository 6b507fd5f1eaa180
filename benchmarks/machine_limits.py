"""The decoder beside the machine: prefill over the measured GEMM rate, decode over the measured bandwidth.

    python -m benchmarks.machine_limits
    python -m benchmarks.machine_limits --shape qwen2-vl-7b

- **GEMM rate**: the best of square products of several sizes in the decoder's dtype.
- **bandwidth**: the best of plain reads (a sum) of a tensor far larger than the caches.
- **prefill**: floating-point operations of all projections and of attention (causal: half of the square),
  over the time of one pass without logits, the quickest of as many as there are products. Norms, rotations
  and activations count nothing.
- **decode**: the bytes of weights that a step must read (as they are stored for decoding) and of keys and
  values, over the time of a step with logits and the choice of a token.
- **transformers**: its own forward over one token with a KV cache, same weights, dtype and threads, logits
  and the choice of a token too; in turn with ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any

import torch
import typer
from transformers import DynamicCache

from benchmarks.reporting import Ratio, ratio_rows, show, surroundings, write_results
from benchmarks.running import (
    Device,
    Dtype,
    Shape,
    Threads,
    alternating,
    describe,
    engine_settings,
    synchronize,
)
from benchmarks.shapes import load_shape
from model.engine import EngineSettings
from model.engine.runner import Runner
from model.loaded import LoadedModel
from model.rope import prompt_positions

PACKAGES = ("torch", "transformers")


def gemm_rate(settings: EngineSettings, repeats: int) -> float:
    """Floating-point operations a second of the best square product."""
    device, dtype = settings.torch_device(), settings.torch_dtype()
    sizes = (1024, 2048) if device.type == "cpu" else (4096, 8192, 16_384)
    rates = []
    for size in sizes:
        one, other = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        rates.append(2 * size**3 / best_seconds(lambda a=one, b=other: a @ b, device, repeats))
    return max(rates)


def bandwidth(device: torch.device, repeats: int) -> float:
    """Bytes a second of a plain read."""
    size = 2**28 if device.type == "cpu" else 2**32
    data = torch.ones(size // 4, device=device, dtype=torch.float32)
    return size / best_seconds(lambda: data.sum(), device, repeats)


def best_seconds(work: Callable[[], Any], device: torch.device, repeats: int) -> float:
    """The quickest of several runs: the machine's limit is what it can do, not what it does on average."""
    work()
    times = []
    for _ in range(repeats):
        synchronize(device)
        began = time.perf_counter()
        work()
        synchronize(device)
        times.append(time.perf_counter() - began)
    return min(times)


def prefill_rate(runner: Runner, batch: int, length: int, rounds: int) -> dict[str, float]:
    """Tokens and floating-point operations a second of a pass over `batch` prompts of `length` tokens."""
    decoder, device = runner.decoder, runner.device
    ids = torch.randint(3, 1000, (batch, length), device=device)
    positions = prompt_positions(length, None)[:, None].expand(3, batch, length).to(device)
    wanted = torch.full((batch, 1), length - 1, device=device)

    def forward() -> None:
        decoder.prefill(decoder.embed(ids), positions, wanted)

    seconds = best_seconds(forward, device, rounds)
    projections = 2 * decoder.projection_weights * batch * length
    attention = 2 * batch * length**2 * decoder.heads * decoder.head_dim * decoder.layer_count
    return {
        "batch": batch,
        "length": length,
        "tokens_per_second": batch * length / seconds,
        "flops": (projections + attention) / seconds,
    }


def decode_step(runner: Runner, batch: int, length: int) -> Callable[[], Any]:
    """One token for `batch` slots of `length` positions each, with logits and the choice of the next."""
    cache, decoder = runner.cache, runner.decoder
    shape = (decoder.layer_count, 2, decoder.kv_heads, length, decoder.head_dim)
    prompt = torch.randn(shape, device=runner.device, dtype=runner.dtype) * 0.1
    slots = [cache.allocate(prompt) for _ in range(batch)]

    def step() -> Any:
        hidden = decoder.decode([5] * batch, [length] * batch, slots, cache)
        return decoder.logits(hidden).argmax(-1).tolist()

    return step


def transformers_step(loaded: LoadedModel, length: int) -> Callable[[], Any]:
    """The same for transformers with a batch of one; its cache loses the token after every step."""
    model = loaded.model
    device = next(model.parameters()).device
    cache = DynamicCache(config=model.config.text_config)
    ids = torch.randint(3, 1000, (1, length), device=device)
    model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    token = torch.tensor([[5]], device=device)

    def step() -> Any:
        output = model(input_ids=token, past_key_values=cache, use_cache=True)
        cache.crop(-1)
        return output.logits[:, -1].argmax(-1).tolist()

    return step


def main(
    shape: Shape = "mini",
    length: Annotated[int, typer.Option(min=2, help="Positions before the decoded token.")] = 64,
    rounds: Annotated[int, typer.Option(min=1, help="Timed rounds of each.")] = 20,
    dtype: Dtype = "auto",
    device: Device = None,
    threads: Threads = None,
) -> None:
    """Measure, print a table and write benchmarks/results/machine_limits-SHAPE.json."""
    settings = engine_settings(dtype, device, threads)
    loaded = load_shape(shape, settings)
    place = settings.torch_device()
    with torch.inference_mode():
        peak, reading = gemm_rate(settings, rounds), bandwidth(place, rounds)
        runner = Runner(loaded, settings)
        prefills = [prefill_rate(runner, *size, rounds) for size in ((1, 32), (16, 32), (1, 512))]
        cache_bytes = 2 * runner.decoder.layer_count * runner.decoder.kv_heads * runner.decoder.head_dim
        cache_bytes *= length * runner.dtype.itemsize
        ours, theirs = alternating(
            [decode_step(runner, 1, length), transformers_step(loaded, length)], place, rounds
        )
        batched = [
            {"batch": size, "seconds": alternating([decode_step(runner, size, length)], place, rounds)[0]}
            for size in (4, 16)
        ]
    best = max(prefill["flops"] for prefill in prefills)
    moved = runner.decoder.decode_bytes + cache_bytes
    ratios = [
        Ratio("prefill / measured GEMM rate", best / peak, (">=", 0.7 if place.type == "cpu" else 0.5)),
        Ratio(
            "decode / measured bandwidth", moved / ours / reading, (">=", 0.6 if place.type == "cpu" else 0.7)
        ),
        Ratio("a token at batch 1, ours / transformers", ours / theirs, ("<=", 0.5)),
    ]
    figures = [
        ("GEMM, GFLOP/s", f"{peak / 1e9:,.0f}"),
        ("bandwidth, GB/s", f"{reading / 1e9:.1f}"),
        *[
            (
                f"prefill {found['batch']} x {found['length']}, tokens/s and GFLOP/s",
                f"{found['tokens_per_second']:,.0f}, {found['flops'] / 1e9:,.0f}",
            )
            for found in prefills
        ],
        ("decode at batch 1, ms", f"{1e3 * ours:.2f}"),
        ("the same, bytes read, MB", f"{moved / 1e6:.0f}"),
        ("transformers at batch 1, ms", f"{1e3 * theirs:.2f}"),
        *[(f"decode at batch {found['batch']}, ms", f"{1e3 * found['seconds']:.2f}") for found in batched],
    ]
    show(f"against the machine, {shape}", figures, ratios)
    results = {
        "surroundings": surroundings(PACKAGES) | describe(settings),
        "shape": shape,
        "gemm_flops": peak,
        "bandwidth_bytes_per_second": reading,
        "prefill": prefills,
        "decode": {"length": length, "seconds": ours, "bytes": moved, "batched": batched},
        "transformers_decode_seconds": theirs,
        "ratios": ratio_rows(ratios),
    }
    typer.echo(f"written to {write_results(f'machine_limits-{shape}', results)}")


if __name__ == "__main__":
    typer.run(main)
