"""Qwen2-VL's rotary positions: three axes (time, row, column), equal for text, apart for image tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLTextConfig
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLRotaryEmbedding


@dataclass(frozen=True, slots=True)
class ImageSpan:
    """Where an image's tokens stand in a prompt: first index, and rows and columns after merging."""

    start: int
    rows: int
    columns: int

    @property
    def count(self) -> int:
        """How many tokens the image takes."""
        return self.rows * self.columns

    @property
    def delta(self) -> int:
        """Position minus index for every token after the image."""
        return max(self.rows, self.columns) - self.count


def prompt_positions(length: int, image: ImageSpan | None) -> Tensor:
    """Positions of a prompt's tokens, `[3, length]`; a token after the image has index + `image.delta`."""
    positions = torch.arange(length).expand(3, length)
    if image is None:
        return positions
    after = image.start + image.count
    rows, columns = torch.meshgrid(torch.arange(image.rows), torch.arange(image.columns), indexing="ij")
    grid = torch.stack([torch.zeros_like(rows), rows, columns]).flatten(1) + image.start
    return torch.cat([positions[:, : image.start], grid, positions[:, after:] + image.delta], dim=1)


class Rotary:
    """The turns of M-RoPE, as complex numbers of modulus 1 (times the scaling of some variants).

    Each frequency turns with one axis: `mrope_section` says how many belong to time, row and column.
    """

    def __init__(self, config: Qwen2VLTextConfig, device: torch.device) -> None:
        parameters = config.rope_parameters
        kind = parameters["rope_type"]
        if kind == "default":
            initialise = Qwen2VLRotaryEmbedding.compute_default_rope_parameters
        elif kind in ("linear", "yarn", "llama3"):
            initialise = ROPE_INIT_FUNCTIONS[kind]
        else:
            raise ValueError(f"Rotary embeddings of type {kind!r} are not supported.")
        frequencies, scaling = initialise(config)
        sections = parameters.get("mrope_section", [16, 24, 24])
        axes = [axis % 3 for axis, size in enumerate(sections) for _ in range(size)]
        if len(axes) != frequencies.shape[0]:
            raise ValueError(f"mrope_section must add up to half the head size, {frequencies.shape[0]}.")
        self._frequencies = frequencies.to(device, torch.float32)
        self._axes = torch.tensor(axes, device=device)
        self._modulus = torch.tensor(float(scaling), device=device)

    def __call__(self, positions: Tensor) -> Tensor:
        """`[3, B, L]` positions -> turns `[B, L, 1, head_dim / 2]` complex64, to be used with `turn`."""
        chosen = positions[self._axes].movedim(0, -1)
        angles = (chosen.float() * self._frequencies)[:, :, None]
        return torch.polar(self._modulus.expand_as(angles), angles)


def pair_rows(parameter: Tensor, head_dim: int) -> Tensor:
    """A query or key projection's rows, or bias, with the two dimensions that turn together side by side.

    transformers turns dimension i of a head with dimension i + head_dim / 2. Products of queries with keys
    do not change when both are ordered anew, and neighbours turn as one complex number.
    """
    heads = parameter.unflatten(0, (-1, 2, head_dim // 2))
    return heads.transpose(1, 2).flatten(0, 2)


def turn(states: Tensor, turns: Tensor) -> Tensor:
    """Rotary embedding of `[..., heads, head_dim]` in the order of `pair_rows`, computed in float32.

    `turns` is `[..., 1, head_dim / 2]` complex64.
    """
    pairs = torch.view_as_complex(states.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turns).flatten(-2).to(states.dtype)


def rotate(states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of `[B, heads, L, head_dim]`, computed in float32, in the states' own dtype."""
    wide = states.float()
    first, second = wide.chunk(2, dim=-1)
    return (wide * cos + torch.cat([-second, first], dim=-1) * sin).to(states.dtype)
