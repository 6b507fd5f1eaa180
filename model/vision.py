"""The vision tower run densely: images of one size are one batch, for serving and for training.

transformers loops over the images of a batch, one attention call each. Images of the same grid need no
loop: these functions run the same weights over `[B, N, D]` with one attention call a layer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.models.qwen2_vl.modeling_qwen2_vl import (
    Qwen2VisionTransformerPretrainedModel,
    Qwen2VLVisionBlock,
    Qwen2VLVisionRotaryEmbedding,
)

from model.conv_tower import ConvTower
from model.images import PreparedImage
from model.rope import rotate

VisionTower: TypeAlias = Qwen2VisionTransformerPretrainedModel | ConvTower

MERGE = 2
_MAX_BATCH_PIXELS = 8192 * 14 * 14  # bounds the activations of one dense batch
_VALUES_PER_PIXEL = 6  # three channels, two frames


def tower_forward(
    tower: VisionTower,
    patches: Tensor,
    grid_hw: tuple[int, int],
) -> Tensor:
    """What the merger takes: `[B, N, D]` of Qwen2-VL's own tower, `[B, N / 4, D]` of the mini base's.

    `patches` is `[B, N, C]` in the processor's order (merge window by merge window), all images of
    the grid `(h, w)` in patches, so N = h * w. Works with autograd and under autocast.
    """
    if isinstance(tower, ConvTower):
        return tower.hidden(patches, grid_hw)
    positions = patch_positions(grid_hw, patches.device)[None]
    cos, sin = _rotation(tower, positions)
    weight = tower.patch_embed.proj.weight
    hidden = F.linear(patches.to(weight.dtype), weight.flatten(1))
    for block in tower.blocks:
        hidden = _block_forward(block, hidden, cos, sin)
    return hidden


def merge(tower: VisionTower, hidden: Tensor) -> Tensor:
    """The merger's image tokens, `[B, N / 4, H]`, from what `tower_forward` returned."""
    merged: Tensor = tower.merger(hidden)
    return merged.view(hidden.shape[0], -1, merged.shape[-1])


def encode_images(tower: VisionTower, images: Sequence[PreparedImage]) -> list[Tensor]:
    """Each image's tokens for the decoder, `[N / 4, H]`, in the order given."""
    by_grid: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, image in enumerate(images):
        by_grid[image.grid_thw[1:]].append(index)
    device = next(tower.parameters()).device
    features: dict[int, Tensor] = {}
    for grid, members in by_grid.items():
        pixels = images[members[0]].patches.numel() // _VALUES_PER_PIXEL
        size = max(1, _MAX_BATCH_PIXELS // pixels)
        for start in range(0, len(members), size):
            batch = members[start : start + size]
            patches = torch.stack([images[index].patches for index in batch]).to(device)
            tokens = merge(tower, tower_forward(tower, patches, grid))
            features.update(zip(batch, tokens.unbind(0), strict=True))
    return [features[index] for index in range(len(images))]


def patch_positions(grid_hw: tuple[int, int], device: torch.device) -> Tensor:
    """Row and column of every patch, `[h * w, 2]`, merge window by merge window."""
    height, width = grid_hw
    rows, columns = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
    )
    grid = torch.stack([rows, columns], dim=-1)
    windows = grid.view(height // MERGE, MERGE, width // MERGE, MERGE, 2).transpose(1, 2)
    return windows.reshape(height * width, 2)


def _rotation(tower: Qwen2VisionTransformerPretrainedModel, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the 2-D rotary angles, each `[B or 1, 1, N, head_dim]` in float32."""
    # From the configuration: the module's own buffer loses precision when the tower is cast to bfloat16.
    frequencies, scaling = Qwen2VLVisionRotaryEmbedding.compute_axial_rope_parameters(tower.config)
    angles = (positions[..., None].float() * frequencies.to(positions.device)).flatten(-2)
    angles = torch.cat([angles, angles], dim=-1)[:, None]
    return angles.cos() * scaling, angles.sin() * scaling


def _block_forward(block: Qwen2VLVisionBlock, hidden: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """One transformer block over `[B, N, D]`, every patch of an image attending to all of it."""
    batch, count, width = hidden.shape
    attention = block.attn
    qkv = attention.qkv(block.norm1(hidden)).view(batch, count, 3, attention.num_heads, -1)
    query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    query, key = rotate(query, cos, sin), rotate(key, cos, sin)
    mixed = F.scaled_dot_product_attention(query, key, value)
    hidden = hidden + attention.proj(mixed.transpose(1, 2).reshape(batch, count, width))
    return hidden + block.mlp(block.norm2(hidden))
