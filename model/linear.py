"""The products of a prefill. On a CPU they are oneDNN's, with weights laid out as its kernels read them.

torch's own `linear` gives a matrix to a kernel as it lies, and in bfloat16 lays it out anew in every call.
Laid out once, short prompts gain most. oneDNN also applies an activation, or multiplies with another
result, while its own is still in registers: a gated MLP's inner values are then written once, not four times.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

_LEAST_STEP = 16
_FEW_ROWS = 64  # up to here a half of that: 20 rows took a sixth longer as 32 than as 24
_STEPS_AN_OCTAVE = 16


def kept_rows(rows: int) -> int:
    """The number of rows to bring to packed products in place of `rows`; at most 15 or a 16th more.

    For every number that they meet oneDNN compiles a kernel and keeps it, over half a megabyte each: over
    all numbers up to 512 more than a gigabyte. So they meet 36 numbers up to 512, and 16 for each doubling.
    """
    octave = (rows - 1).bit_length()
    least = _LEAST_STEP // 2 if rows <= _FEW_ROWS else _LEAST_STEP
    step = max(least, 2**octave // (2 * _STEPS_AN_OCTAVE))
    return -(-rows // step) * step


def packs(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether oneDNN can lay out weights of this dtype here, and multiply with them."""
    return device.type == "cpu" and _packs_on_cpu(dtype)


@cache
def _packs_on_cpu(dtype: torch.dtype) -> bool:
    if dtype not in (torch.float32, torch.bfloat16) or not torch.backends.mkldnn.is_available():
        return False
    try:  # the operators are torch.compile's, not for the public: another torch may lack them
        one = torch.eye(16, dtype=dtype)
        return bool(torch.equal(Linear(one, None, packed=True)(one), one))
    except (AttributeError, RuntimeError, TypeError):
        return False


class Linear:
    """`rows @ weight.T + bias`, `[..., in]` -> `[..., out]`, in the weight's dtype."""

    def __init__(self, weight: Tensor, bias: Tensor | None, packed: bool) -> None:
        """`packed`: lay out a copy of the weight, where `packs` says that it can be done."""
        self.weights = weight.numel()
        self._bias = bias
        self._packed = packed
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight) if packed else weight

    def __call__(self, rows: Tensor) -> Tensor:
        """The product."""
        if not self._packed:
            return F.linear(rows, self._weight, self._bias)
        product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self._weight, self._bias, "none", [], "")
        return product

    def silu(self, rows: Tensor) -> Tensor:
        """SiLU of the product."""
        if not self._packed:
            return F.silu(self(rows))
        product: Tensor = torch.ops.mkldnn._linear_pointwise(
            rows, self._weight, self._bias, "swish", [1.0], ""
        )
        return product

    def times(self, rows: Tensor, factors: Tensor) -> Tensor:
        """The product, multiplied element by element with `factors`, `[..., out]`."""
        if not self._packed:
            return self(rows) * factors
        product: Tensor = torch.ops.mkldnn._linear_pointwise.binary(
            rows, factors, self._weight, self._bias, "mul"
        )
        return product


class GatedLinear:
    """`silu(rows @ gate.T) * (rows @ up.T)`, `[..., in]` -> `[..., inner]`, in the weights' dtype."""

    def __init__(self, gate_up: Tensor, packed: bool) -> None:
        """`gate_up` is `[2 inner, in]`, gates first; packed as two, and otherwise one product gives both."""
        parts = gate_up.chunk(2) if packed else [gate_up]
        self._products = [Linear(part, None, packed) for part in parts]
        self.weights = gate_up.numel()

    def __call__(self, rows: Tensor) -> Tensor:
        """The gated product."""
        if len(self._products) == 1:
            gates, ups = self._products[0](rows).chunk(2, dim=-1)
            return F.silu(gates) * ups
        gate, up = self._products
        return up.times(rows, gate.silu(rows))
