"""Weights of bfloat16 as the kernels' products take them (`model/kernels/tiles.h`), and single products.

AMX multiplies tiles of 16 rows. oneDNN does so too, but a short query's products are over before it has
prepared them, and it can neither add a result to the residual stream nor gate one half of it with the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from model.kernels.library import (
    ADDED,
    GATED,
    PANEL,
    PLAIN,
    TILE,
    TILES,
    Tiled,
    TiledMultiplication,
    instruction_set,
    library,
)
from model.native_step import StepShape, members


@dataclass(frozen=True, slots=True)
class TiledWeight:
    """A product's weight, `[out / PANEL, in / PANEL, 2, 16, 16, 2]` bfloat16, and perhaps its bias, float32.

    The axes are panels, steps, tiles of a step, pairs of columns, rows, and the pair's two. Of a gated
    product each panel has 16 gates and then their 16 ups.
    """

    tiles: Tensor
    bias: Tensor | None = None
    gated: bool = False

    @property
    def rows(self) -> int:
        """What the weight has; a gated product's result has half as many columns."""
        return self.tiles.shape[0] * PANEL

    @property
    def columns(self) -> int:
        """Those of the activations."""
        return self.tiles.shape[1] * PANEL

    def described(self, added: bool = False) -> Tiled:
        """For the kernels; valid while this object lives. `added`: its result goes on top of floats."""
        bias = None if self.bias is None else self.bias.data_ptr()
        kind = GATED if self.gated else ADDED if added else PLAIN
        return Tiled(self.tiles.data_ptr(), bias, self.rows, self.columns, kind)


def tiles_suit(shape: StepShape, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether this CPU has tiles, and the model's sizes and dtype fit into them."""
    whole = not any(
        size % PANEL
        for size in (
            shape.hidden,
            shape.intermediate,
            shape.heads * shape.head_dim,
            shape.kv_heads * shape.head_dim,
        )
    )
    fits = shape.is_supported and whole and dtype == torch.bfloat16 and device.type == "cpu"
    return fits and instruction_set() == TILES


def tiled(weight: Tensor, bias: Tensor | None = None) -> TiledWeight:
    """A weight `[out, in]`, multiples of `PANEL`, laid out in tiles."""
    rows, columns = weight.shape
    parts = weight.detach().to(torch.bfloat16).view(rows // PANEL, 2, TILE, columns // PANEL, TILE, 2)
    wide_bias = None if bias is None else bias.detach().float().contiguous()
    return TiledWeight(parts.permute(0, 3, 1, 4, 2, 5).contiguous(), wide_bias)


def tiled_gate(gate_up: Tensor) -> TiledWeight:
    """A gated product's weight `[2 inner, in]`, gates first, laid out in tiles; inner is a multiple of 16."""
    pairs = torch.stack([half.unflatten(0, (-1, TILE)) for half in gate_up.chunk(2)], dim=1)
    return TiledWeight(tiled(pairs.flatten(0, 2)).tiles, gated=True)


class TiledLinear:
    """`rows @ weight.T + bias`, or the gated product: `[..., in]` -> `[..., out]`, in bfloat16."""

    def __init__(self, weight: TiledWeight, threads: int) -> None:
        """Raises `RuntimeError` where no kernels are compiled."""
        kernels = library()
        if kernels is None:
            raise RuntimeError("No kernels are compiled: get a C compiler, then install Solomon again.")
        self._kernels = kernels
        self._threads = threads
        self.weight = weight
        self.weights = weight.tiles.numel()

    def __call__(self, rows: Tensor) -> Tensor:
        """The product. Raises `ValueError` for rows that are not its own kind."""
        weight = self.weight
        if rows.dtype != torch.bfloat16 or rows.device.type != "cpu" or rows.shape[-1] != weight.columns:
            raise ValueError(
                f"Expected bfloat16 [..., {weight.columns}] on the CPU, not {rows.dtype} {list(rows.shape)}."
            )
        flat = rows.reshape(-1, weight.columns).contiguous()
        width = weight.rows // 2 if weight.gated else weight.rows
        result = torch.empty(*rows.shape[:-1], width, dtype=torch.bfloat16, device="cpu")
        work = TiledMultiplication(weight.described(), len(flat), flat.data_ptr(), result.data_ptr())
        self._kernels.tiles_run(members(self._threads), work)
        return result
