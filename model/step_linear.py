"""Matrix products for the few rows of a decode step, which take as long as reading their weights does.

On a CPU, torch's own product of a row with a matrix falls far short of the memory's bandwidth, and float32
weights are twice the bytes that are needed. FBGEMM's kernels, which come with torch on x86, read weights
packed in float16, convert them in registers, and multiply and add in float32: half the bytes, every weight
kept to 11 bits, activations untouched. (Its int8 products would halve the bytes again, but quantise the
activations as well; torch's weight-only int8 product has no vectorised kernel without AVX-512.)
"""

from __future__ import annotations

import platform
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_LARGEST_HALF = 65_504.0


def packs_half(device: torch.device) -> bool:
    """Whether FBGEMM's float16 products are there: torch's x86 builds, on a CPU with AVX2 and F16C."""
    if device.type != "cpu" or platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    capabilities = torch.cpu.get_capabilities()
    return (
        torch.backends.quantized.engine in ("x86", "fbgemm")
        and bool(capabilities.get("avx2"))
        and bool(capabilities.get("f16c"))
    )


class StepLinear:
    """`rows @ weight.T + bias`, `[n, in]` -> `[n, out]`.

    Packed, the result is float32. Otherwise the weight stays as it is, shared with whoever else uses it,
    and the result has its dtype.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, packed: bool = False) -> None:
        """Packs a copy of the weight where `packed` asks for it and float16 can hold it."""
        self._weight = weight
        self._bias = bias
        self._packed: Any = None  # FBGEMM's own object
        self.stored_bytes = weight.nbytes
        if packed and float(weight.abs().max()) <= _LARGEST_HALF:
            wide = None if bias is None else bias.float()
            self._packed = torch.ops.quantized.linear_prepack_fp16(weight.float(), wide)
            self.stored_bytes = 2 * weight.numel()

    def __call__(self, rows: Tensor) -> Tensor:
        """The product."""
        if self._packed is not None:
            product: Tensor = torch.ops.quantized.linear_dynamic_fp16(rows.float(), self._packed)
            return product
        return F.linear(rows.to(self._weight.dtype), self._weight, self._bias)
