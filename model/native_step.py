"""A decode step on a CPU in one call of compiled code (`model/kernels`), with weights of one byte.

Reading the weights is what a step of a few rows costs, and what torch adds to that: a step is some 660
operations of it, each with its own dispatch and its own meeting of threads. Here threads meet five times a
layer, the weights are int8 with a scale for every 64 of a row, and activations, norms and sums stay float32.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.kernels.library import (
    GROUP,
    ROWS,
    DecoderWeights,
    Layer,
    Multiplication,
    Product,
    Step,
    library,
)
from model.kv_cache import KVCache

_LANES = 16  # a vector's floats at most: every size is a multiple of it
_LARGEST = 127
_ROWS_AT_ONCE = 4096  # a multiple of ROWS


@dataclass(frozen=True, slots=True)
class StepShape:
    """Sizes of the decoder: of the residual stream, of the MLP, and of attention."""

    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int

    @property
    def is_supported(self) -> bool:
        """Whether the kernels' vectors fit into these sizes."""
        whole = not any(size % _LANES for size in (self.hidden, self.intermediate, self.head_dim))
        return whole and self.heads % self.kv_heads == 0


@dataclass(frozen=True, slots=True)
class StepWeight:
    """A product's weight of int8, in the kernels' blocks, and perhaps its bias, `[out]` float32.

    A block has `ROWS` rows' weights of one group behind their scales, `[blocks, groups, bytes]` uint8; the
    rows' pairs of weights stand side by side.
    """

    blocks: Tensor
    rows: int
    columns: int
    bias: Tensor | None = None

    @property
    def stored_bytes(self) -> int:
        """Bytes that a product reads."""
        return self.blocks.nbytes

    def described(self) -> Product:
        """For the kernels; valid while this object lives."""
        bias = None if self.bias is None else self.bias.data_ptr()
        return Product(self.blocks.data_ptr(), bias, self.rows, self.columns)


def quantised(weight: Tensor, bias: Tensor | None = None) -> StepWeight:
    """The nearest int8 weight of `[out, in]`: each group's largest value becomes 127 or -127."""
    rows, columns = weight.shape
    # Some rows at a time: widened at once, a large vocabulary's matrix would take gigabytes.
    parts = [_blocks(part) for part in weight.detach().split(_ROWS_AT_ONCE)]
    wide_bias = None if bias is None else bias.detach().float().contiguous()
    return StepWeight(torch.cat(parts), rows, columns, wide_bias)


def _blocks(weight: Tensor) -> Tensor:
    """The kernels' blocks of a weight, or of some of its rows."""
    rows, columns = weight.shape
    padded = F.pad(weight.float(), (0, -columns % GROUP, 0, -rows % ROWS))
    groups = padded.view(-1, ROWS, padded.shape[1] // GROUP, GROUP).transpose(1, 2)
    scales = groups.abs().amax(-1, keepdim=True) / _LARGEST
    values = (groups / torch.where(scales > 0, scales, 1.0)).round_().to(torch.int8)
    pairs = values.unflatten(-1, (GROUP // 2, 2)).transpose(2, 3)
    stored = [part.contiguous().view(torch.uint8).flatten(2) for part in (scales, pairs)]
    return torch.cat(stored, dim=-1)


@dataclass(frozen=True, slots=True)
class StepLayer:
    """One layer: norms in float32, and the four products."""

    attention_norm: Tensor
    mlp_norm: Tensor
    qkv: StepWeight
    out: StepWeight
    gate_up: StepWeight
    down: StepWeight

    @property
    def weights(self) -> tuple[StepWeight, ...]:
        """The products' weights."""
        return (self.qkv, self.out, self.gate_up, self.down)

    def described(self) -> Layer:
        """For the kernels; valid while this object lives."""
        norms = (self.attention_norm.data_ptr(), self.mlp_norm.data_ptr())
        return Layer(*norms, *(weight.described() for weight in self.weights))


class NativeStep:
    """The decoder's weights as the kernels take them."""

    def __init__(
        self,
        shape: StepShape,
        layers: Sequence[StepLayer],
        norm: Tensor,
        head: StepWeight,
        epsilon: float,
        threads: int,
    ) -> None:
        """Raises `ValueError` for sizes that do not fit, `RuntimeError` where no kernels are compiled."""
        if not shape.is_supported:
            raise ValueError(f"The kernels need sizes that are multiples of {_LANES}, not {shape}.")
        kernels = library()
        if kernels is None:
            raise RuntimeError("No kernels are compiled: get a C compiler, then install Solomon again.")
        self._kernels = kernels
        self._kept = (layers, norm, head)  # the kernels have their addresses
        self._shape = shape
        self._head = head
        self.threads = threads
        self._layers = (Layer * len(layers))(*(layer.described() for layer in layers))
        sizes = (shape.hidden, shape.intermediate, shape.heads, shape.kv_heads, shape.head_dim)
        self._decoder = DecoderWeights(self._layers, norm.data_ptr(), len(layers), *sizes, epsilon)

    @property
    def stored_bytes(self) -> int:
        """Bytes of weights that a step with logits reads."""
        layers, _, head = self._kept
        return sum(weight.stored_bytes for layer in layers for weight in layer.weights) + head.stored_bytes

    def decode(self, hidden: Tensor, turns: Tensor, slots: Sequence[int], cache: KVCache) -> Tensor:
        """Embeddings of one token for every slot, `[n, H]` float32, to final hidden states, in place.

        `turns` is `[n, head_dim / 2]` complex64. Keys and values go to each slot's next free place. Raises
        `IndexError` for a slot that is full.
        """
        lengths = [cache.lengths[slot] for slot in slots]
        if max(lengths) >= cache.capacity:
            raise IndexError(f"A slot is full: it holds {cache.capacity} positions.")
        count, states = len(slots), cache.states
        _check(hidden, self._shape.hidden)
        if states.dtype not in (torch.float32, torch.bfloat16) or not states.is_contiguous():
            raise ValueError("The KV cache must be contiguous float32 or bfloat16.")
        places = torch.tensor([list(slots), lengths], dtype=torch.int32, device="cpu")
        turned = torch.view_as_real(turns).contiguous()
        threads = members(self.threads)
        workspace = _floats(self._kernels.step_floats(self._decoder, count, cache.capacity, threads))
        layer_stride, kind_stride, slot_stride = states.stride()[:3]
        step = Step(
            decoder=ctypes.pointer(self._decoder),
            count=count,
            capacity=cache.capacity,
            float_states=states.dtype == torch.float32,
            hidden=hidden.data_ptr(),
            turns=turned.data_ptr(),
            slots=places[0].data_ptr(),
            lengths=places[1].data_ptr(),
            states=states.data_ptr(),
            layer_stride=layer_stride,
            kind_stride=kind_stride,
            slot_stride=slot_stride,
            workspace=workspace.data_ptr(),
        )
        self._kernels.step_run(threads, step)
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """Products of the output matrix, `[n, H]` float32 -> `[n, V]` float32."""
        product, rows = self._head.described(), hidden.contiguous()
        _check(rows, self._head.columns)
        result, threads = _floats(len(rows), product.rows), members(self.threads)
        workspace = _floats(self._kernels.multiply_floats(product, len(rows), threads))
        work = Multiplication(
            product=product,
            count=len(rows),
            rows=rows.data_ptr(),
            result=result.data_ptr(),
            workspace=workspace.data_ptr(),
        )
        self._kernels.multiply_run(threads, work)
        return result


def members(threads: int) -> int:
    """Threads for one call: no more than torch has in this thread, for they are the same.

    After a fork only one is left, and whoever tells torch so need not tell the kernels.
    """
    return min(threads, torch.get_num_threads())


def _check(rows: Tensor, columns: int) -> None:
    """What is behind an address cannot be checked any more. Raises `ValueError`."""
    sound = rows.dtype == torch.float32 and rows.device.type == "cpu" and rows.is_contiguous()
    if not sound or rows.ndim != 2 or rows.shape[1] != columns:
        raise ValueError(f"Rows must be contiguous float32 [n, {columns}] on the CPU.")


def _floats(*shape: int) -> Tensor:
    """Room for float32, whatever torch's default dtype and device are at the moment."""
    return torch.empty(*shape, dtype=torch.float32, device="cpu")
