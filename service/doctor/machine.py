"""The machine: processor, memory, and the device that the model would compute on."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from service.doctor.findings import Finding, good, missing, note
from service.settings import Settings

if TYPE_CHECKING:
    from model.engine import EngineSettings

_NEEDED = 2 * 2**30  # resident memory of the shipped checkpoint with room for batches


def examine_machine(settings: Settings) -> Iterator[Finding]:
    """Findings about Python, memory, and where and in what precision the model would run."""
    yield good("Python", f"{platform.python_version()} ({sys.executable})")
    yield _cores(settings)
    yield from _memory()
    yield from _device(settings)
    yield _searching()


def _cores(settings: Settings) -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = settings.threads or usable
    if threads > usable:
        return note("cores", f"{usable}, and {threads} threads are set", "Lower SOLOMON_THREADS.")
    return good("cores", f"{usable}, of which {threads} would be used")


def _memory() -> Iterator[Finding]:
    available = available_memory()
    if available is None:
        return
    found = f"{available / 2**30:.1f} GiB available"
    if available < _NEEDED:
        yield note("memory", found, "The shipped checkpoint takes about 2 GiB; end something else.")
    else:
        yield good("memory", found)


def available_memory() -> int | None:
    """Bytes that can be had without swapping; None where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None


def _device(settings: Settings) -> Iterator[Finding]:
    try:
        import torch

        from model.engine import EngineSettings
    except ImportError as error:
        yield missing("torch", f"cannot be imported ({error})", "pip install 'torch>=2.13'")
        return
    yield good("torch", torch.__version__)
    try:
        engine = EngineSettings(device=settings.device, dtype=settings.dtype, threads=settings.threads)
        device = engine.torch_device()
        torch.zeros(1, device=device)
    except (RuntimeError, ValueError, AssertionError) as error:
        found = f"{settings.device or 'the GPU'} cannot be used ({_first_line(error)})"
        yield missing("device", found, "Set SOLOMON_DEVICE=cpu.")
        return
    precision = str(engine.torch_dtype()).removeprefix("torch.")
    yield good("device", f"{_name(torch, device)}, computing in {precision}")
    if device.type == "cpu":
        yield _decoding(engine, settings.dtype)
    if device.type == "cpu" and torch.version.cuda is None and os.path.exists("/proc/driver/nvidia"):
        yield note("GPU", "there is one, and this torch is built for CPUs", "Install a CUDA build of torch.")


def _searching() -> Finding:
    from index.compiled import library

    if library() is None:
        mend = "Get a C compiler (Debian: gcc, libc6-dev), then install Solomon again."
        return note("search", "in large collections by a quarter slower: nothing is compiled here", mend)
    return good("search", "what stands around FAISS is compiled")


def _decoding(engine: EngineSettings, dtype: str) -> Finding:
    from model.kernels.library import instruction_set

    kernels = instruction_set()
    if kernels is None:
        mend = "Get a C compiler (Debian: gcc, libc6-dev), then install Solomon again."
        return note("decoding", "by torch, several times slower: no compiled kernels here", mend)
    if engine.quantises_steps():
        return good("decoding", f"{kernels} int8, by the compiled kernels")
    why = "SOLOMON_DTYPE asks for it" if dtype != "auto" else f"the kernels have only {kernels} here"
    return good("decoding", f"by torch: {why}")


def _name(torch: Any, device: Any) -> str:
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
