"""A prefill on a CPU with AMX in one call of compiled code (`model/kernels/pass.h`).

Elsewhere a pass is eight calls a layer: five products of oneDNN's and what stands between them. Where
products are as quick as AMX makes them, half of what a short query takes is these calls, each of which is
dispatched, brings its threads together and writes its result out.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.kernels.library import Attention, Pass, library
from model.kernels.library import TiledLayer as Described
from model.native_prompt import Sequences, checked
from model.native_step import StepShape, members
from model.tiles import TiledWeight


@dataclass(frozen=True, slots=True)
class TiledLayer:
    """One layer: norms in float32, and the four products."""

    attention_norm: Tensor
    mlp_norm: Tensor
    qkv: TiledWeight
    out: TiledWeight
    gated: TiledWeight
    down: TiledWeight

    def described(self) -> Described:
        """For the kernels; valid while this object lives."""
        return Described(
            self.attention_norm.data_ptr(),
            self.mlp_norm.data_ptr(),
            self.qkv.described(),
            self.out.described(added=True),
            self.gated.described(),
            self.down.described(added=True),
        )


class NativePass:
    """The decoder's layers as the kernels take them."""

    def __init__(self, shape: StepShape, layers: Sequence[TiledLayer], epsilon: float, threads: int) -> None:
        """Raises `RuntimeError` where no kernels are compiled."""
        kernels = library()
        if kernels is None:
            raise RuntimeError("No kernels are compiled: get a C compiler, then install Solomon again.")
        self._kernels = kernels
        self._kept = tuple(layers)  # the kernels have their addresses
        self._layers = (Described * len(layers))(*(layer.described() for layer in layers))
        self._shape = shape
        self._epsilon = epsilon
        self._threads = threads

    def run(self, hidden: Tensor, sequences: Sequences) -> Tensor:
        """Take embeddings `[T, H]` float32 through all layers, in place; the last norm is the caller's.

        Returns every layer's states, `[layers, T, heads + 2 kv_heads, head_dim]` bfloat16: queries before
        keys before values, of which queries and keys are turned. Raises `ValueError` for other tensors.
        """
        shape, rows, layers = self._shape, len(hidden), len(self._kept)
        if int(sequences.starts[-1]) != rows:
            raise ValueError(f"The sequences have {int(sequences.starts[-1])} tokens, not {rows}.")
        inner, width = shape.heads * shape.head_dim, shape.heads + 2 * shape.kv_heads
        states, mixed, normed, gated = (
            torch.empty(size, dtype=torch.bfloat16, device="cpu")
            for size in (
                (layers, rows, width, shape.head_dim),
                (rows, inner),
                (rows, shape.hidden),
                (rows, shape.intermediate),
            )
        )
        attention = Attention(
            heads=shape.heads,
            kv_heads=shape.kv_heads,
            head_dim=shape.head_dim,
            float_states=False,
            rows=rows,
            count=len(sequences.starts) - 1,
            longest=sequences.longest,
            starts=sequences.starts.data_ptr(),
            turns=checked(sequences.turns, torch.float32, (rows, shape.head_dim)).data_ptr(),
            states=states.data_ptr(),
            mixed=mixed.data_ptr(),
        )
        threads = members(self._threads)
        room = torch.empty(self._kernels.attention_floats(attention, threads), dtype=torch.float32)
        attention.workspace = room.data_ptr()
        work = Pass(
            layers=ctypes.cast(self._layers, ctypes.POINTER(Described)),
            layer_count=layers,
            hidden_size=shape.hidden,
            epsilon=self._epsilon,
            attention=attention,
            hidden=checked(hidden, torch.float32, (rows, shape.hidden)).data_ptr(),
            normed=normed.data_ptr(),
            gated=gated.data_ptr(),
        )
        self._kernels.pass_run(threads, work)
        return states
