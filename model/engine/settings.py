"""How an engine uses its machine."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from model.engine.cores import usable_cores
from model.errors import NoSuchDevice
from model.kernels.library import instruction_set

# Parts of a long prompt are of equal length, and the last must hold the three tokens that are read.
LEAST_BATCH_TOKENS = 16
_AUGMENT_LIMIT = 128


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Bounds of the engine's work and memory; the defaults suit a laptop's CPU.

    `max_queue`: requests accepted and not yet running. `max_batch_tokens` and `max_batch_size`: one
    prefill, with its padding where there is any; a longer prompt is prefilled in parts, between which
    others have their turn (None: 512 on a CPU, 4096 on a GPU). `max_background_tokens`: the same for
    requests with a priority above 0, behind which a query may have to wait (None: no other than
    `max_batch_tokens`). `max_decoding`: augmentations that decode at once, each holding a slot of the KV
    cache. `max_parked`: augmentations that wait for a slot with their prompt's keys and values kept.
    `max_augment_limit`: the most answer tokens of a request, asked for or not (None: 128, or what the
    checkpoint writes by itself if that is more). `embedding_cache_items`: finished embeddings to remember
    for items that come again exactly (0: none). `decoder`: "solomon", or "transformers" for the baseline.
    `dtype`: "float32", "bfloat16", or "auto", which takes bfloat16 where the hardware computes with it.
    `int8_steps`: decode with int8 weights, by the kernels of `model/native_step.py` (None: on a CPU with
    dtype "auto", where they are compiled). `device`: a torch device, or None for CUDA where there is any.
    `threads`: None uses the cores the process may use.
    """

    max_queue: int = 512
    max_batch_tokens: int | None = None
    max_background_tokens: int | None = 256
    max_batch_size: int = 64
    max_decoding: int = 32
    max_parked: int = 64
    max_augment_limit: int | None = None
    vision_cache_items: int = 1024
    vision_cache_bytes: int = 256 * 2**20
    embedding_cache_items: int = 0
    decoder: str = "solomon"
    int8_steps: bool | None = None
    threads: int | None = None
    dtype: str = "auto"
    device: str | None = None

    def __post_init__(self) -> None:
        for name in ("max_queue", "max_batch_size", "max_decoding", "max_augment_limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}.")
        for name in ("max_parked", "vision_cache_items", "vision_cache_bytes", "embedding_cache_items"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, not {getattr(self, name)}.")
        for name in ("max_batch_tokens", "max_background_tokens"):
            value = getattr(self, name)
            if value is not None and value < LEAST_BATCH_TOKENS:
                raise ValueError(f"{name} must be at least {LEAST_BATCH_TOKENS}, not {value}.")
        if self.decoder not in ("solomon", "transformers"):
            raise ValueError(f"decoder must be solomon or transformers, not {self.decoder!r}.")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads must be at least 1, not {self.threads}.")
        if self.dtype not in ("auto", "float32", "bfloat16"):
            raise ValueError(f"dtype must be auto, float32 or bfloat16, not {self.dtype!r}.")
        self._check_device()

    def _check_device(self) -> None:
        try:
            wanted = torch.device(self.device or "cpu")
        except RuntimeError:
            raise ValueError(f"device must be cpu, cuda or cuda:N, not {self.device!r}.") from None
        if self.int8_steps and self.torch_device().type != "cpu":
            raise ValueError("int8_steps decodes on a CPU; set device to cpu, or leave int8_steps out.")
        found = torch.cuda.device_count() if wanted.type == "cuda" else 0
        if wanted.type == "cuda" and (wanted.index or 0) >= found:
            raise NoSuchDevice(
                f"device is {self.device!r}, and torch {torch.__version__} finds {found} CUDA devices: see "
                "to the driver, install a CUDA build of torch, or leave device out."
            )

    def longest_augmentation(self, default: int) -> int:
        """Most answer tokens of a request to a model that writes `default` by itself."""
        return self.max_augment_limit or max(_AUGMENT_LIMIT, default)

    def step_tokens(self, priority: int) -> int:
        """The token budget of one prefill of requests with this priority."""
        most = self.max_batch_tokens
        if most is None:
            most = 512 if self.torch_device().type == "cpu" else 4096
        if priority > 0 and self.max_background_tokens is not None:
            return min(most, self.max_background_tokens)
        return most

    def torch_device(self) -> torch.device:
        """The device to run on."""
        return torch.device(self.device or ("cuda" if torch.cuda.is_available() else "cpu"))

    def torch_dtype(self) -> torch.dtype:
        """The dtype of weights and keys and values."""
        if self.dtype == "auto":
            return fast_dtype(self.torch_device())
        return torch.bfloat16 if self.dtype == "bfloat16" else torch.float32

    def quantises_steps(self) -> bool:
        """Whether decode steps use int8 weights."""
        if self.int8_steps is None:
            # What the kernels do without vectors of 8 is slower than torch.
            fast = instruction_set() not in (None, "baseline")
            return fast and self.torch_device().type == "cpu" and self.dtype == "auto"
        return self.int8_steps

    def thread_count(self) -> int:
        """CPU threads for torch: as set here, else OMP_NUM_THREADS, else the cores the process may use."""
        if self.threads is not None:
            return self.threads
        if "OMP_NUM_THREADS" in os.environ:
            return torch.get_num_threads()
        return usable_cores()


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware computes with it, else float32: emulated bfloat16 is the slower one."""
    return torch.bfloat16 if device.type != "cpu" or _cpu_computes_bfloat16() else torch.float32


def _cpu_computes_bfloat16() -> bool:
    """Whether the CPU has bfloat16 instructions."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "amx_tile", "bf16"))
