"""The decoder beside llama.cpp on the same SmolLM2 GGUF: tokens a second of prefill and of decode.

    .venv/bin/pip install -e '.[bench]'
    .venv/bin/python -m benchmarks.llama_cpp

llama.cpp comes from `xllamacpp`, which ships it built, and times itself; one sequence, the same number of
threads, no prompt cache. It computes with the GGUF's own 4-bit weights; ours, dequantised from them, take
four times as many bytes or more. Both sides decode one token after the other from a prompt of the same
length and choose it greedily.
"""

from __future__ import annotations

import statistics
from typing import Annotated, Any

import torch
import typer

from benchmarks.machine_limits import decode_step, prefill_rate
from benchmarks.reporting import Ratio, ratio_rows, show, surroundings, write_results
from benchmarks.running import Dtype, Threads, alternating, describe, engine_settings
from benchmarks.shapes import MINI, load_shape
from model.engine.runner import Runner
from model.smollm import ensure_gguf

PACKAGES = ("torch", "transformers", "xllamacpp")


class LlamaCpp:
    """llama.cpp on the GGUF, in this process."""

    def __init__(self, threads: int, context: int) -> None:
        import xllamacpp

        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(ensure_gguf())
        parameters.n_ctx = context
        parameters.n_parallel = 1
        parameters.n_gpu_layers = 0
        parameters.verbosity = 0
        parameters.cpuparams.n_threads = threads
        parameters.cpuparams_batch.n_threads = threads
        self._server = xllamacpp.Server(parameters)

    def timings(self, prompt: list[int], tokens: int) -> dict[str, Any]:
        """llama.cpp's own timings of one completion of token ids."""
        answer = self._server.handle_completions(
            {
                "prompt": prompt,
                "max_tokens": tokens,
                "temperature": 0,
                "cache_prompt": False,
                "ignore_eos": True,
                "timings_per_token": True,
            }
        )
        if not isinstance(answer, dict) or "timings" not in answer:
            raise RuntimeError(f"llama.cpp answered without timings: {answer!r:.500}")
        found: dict[str, Any] = answer["timings"]
        return found


def main(
    prompt_tokens: Annotated[int, typer.Option(min=8, help="Length of the prompt.")] = 512,
    tokens: Annotated[int, typer.Option(min=2, help="Tokens to decode.")] = 32,
    rounds: Annotated[int, typer.Option(min=1, help="Times that each side does it; medians count.")] = 5,
    dtype: Dtype = "auto",
    threads: Threads = None,
) -> None:
    """Measure on the CPU, print a table and write benchmarks/results/llama_cpp-mini.json."""
    settings = engine_settings(dtype, "cpu", threads)
    peer = LlamaCpp(settings.thread_count(), prompt_tokens + tokens + 64)
    prompt = torch.randint(
        1000, 40_000, (prompt_tokens,), generator=torch.Generator().manual_seed(0)
    ).tolist()
    timings = [peer.timings(prompt, tokens) for _ in range(rounds + 1)][1:]
    theirs = {
        name: statistics.median(found[f"{name}_per_second"] for found in timings)
        for name in ("prompt", "predicted")
    }
    runner = Runner(load_shape(MINI, settings), settings)
    with torch.inference_mode():
        ours = {"prompt": prefill_rate(runner, 1, prompt_tokens, rounds)["tokens_per_second"]}
        step = decode_step(runner, 1, prompt_tokens)
        ours["predicted"] = 1 / alternating([step], runner.device, rounds * tokens // 2)[0]
    ratios = [
        Ratio("prefill rate, ours / llama.cpp", ours["prompt"] / theirs["prompt"]),
        Ratio("decode rate, ours / llama.cpp", ours["predicted"] / theirs["predicted"]),
    ]
    figures = [
        (f"prefill of {prompt_tokens}, llama.cpp, tokens/s", f"{theirs['prompt']:,.0f}"),
        (f"prefill of {prompt_tokens}, ours, tokens/s", f"{ours['prompt']:,.0f}"),
        ("decode, llama.cpp, tokens/s", f"{theirs['predicted']:.1f}"),
        ("decode, ours, tokens/s", f"{ours['predicted']:.1f}"),
    ]
    show("against llama.cpp, SmolLM2-135M-Instruct", figures, ratios)
    results = {
        "surroundings": surroundings(PACKAGES) | describe(settings),
        "prompt_tokens": prompt_tokens,
        "tokens": tokens,
        "llama_cpp": theirs,
        "ours": ours,
        "ratios": ratio_rows(ratios),
    }
    typer.echo(f"written to {write_results('llama_cpp-mini', results)}")


if __name__ == "__main__":
    typer.run(main)
