"""The mini base's eyes: EfficientNet-Lite0 where other Qwen2-VLs have a vision transformer.

A transformer of a few million parameters needs far more photos than we have; this network of 3.4 million
was trained on ImageNet. It stands in `Qwen2VLForConditionalGeneration.model.visual` and speaks the same
language: patches and a grid in, one token for every 2 x 2 patches out. Batch normalisation is folded into
the convolutions, which at inference is the same function with half the passes over memory.

EfficientNet: Tan and Le, arXiv 1905.11946; the Lite variants have no squeeze-and-excitation and use ReLU6.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from transformers.modeling_outputs import BaseModelOutputWithPooling

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CHANNELS = 1280
PATCH = 28  # pixels a side
MERGE = 2
CACHED_PIXELS = 4 * 224 * 224  # of one pass on a CPU: what its widest layer makes of them stays in the cache


class Stage(NamedTuple):
    """Blocks of one width: `repeats` of them, of which the first has the stride."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    width: int


STEM = 32
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


class ConvTower(nn.Module):
    """Image patches to image tokens; `hidden` is the frozen network, `merger` is what we train."""

    spatial_merge_size = MERGE

    def __init__(self, token_width: int) -> None:
        """`token_width` is the language model's hidden size."""
        super().__init__()
        self.stem = SameConv(3, STEM, kernel=3, stride=2)
        blocks: list[nn.Module] = []
        width = STEM
        for stage in STAGES:
            for number in range(stage.repeats):
                blocks.append(InvertedBottleneck(width, stage, stage.stride if number == 0 else 1))
                width = stage.width
        self.blocks = nn.Sequential(*blocks)
        self.head = SameConv(width, CHANNELS, kernel=1)
        self.merger = Merger(token_width)
        scale = torch.tensor(OPENAI_CLIP_STD) / torch.tensor(IMAGENET_STD)
        shift = (torch.tensor(OPENAI_CLIP_MEAN) - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
        self._scale: Tensor
        self._shift: Tensor
        self.register_buffer("_scale", scale.view(3, 1, 1), persistent=False)
        self.register_buffer("_shift", shift.view(3, 1, 1), persistent=False)
        for convolution in self.modules():  # the layout that CPUs convolve fastest in
            if isinstance(convolution, SameConv):
                weight = convolution.weight.data
                convolution.weight.data = weight.contiguous(memory_format=torch.channels_last)

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in; transformers asks for it."""
        return self.stem.weight.dtype

    def hidden(self, patches: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """The feature map at every token's place, `[B, N / 4, 1280]`.

        `patches` is `[B, N, 4704]` in the order of `model.images.square_patches`, with Qwen2-VL's own
        normalisation, all images of the grid `(h, w)`, N = h * w. A CPU takes four of 224 pixels at a time:
        a pass over 64 took 2.3 times as long for each.
        """
        if patches.device.type == "cpu":
            images = max(1, CACHED_PIXELS // (grid_hw[0] * grid_hw[1] * PATCH * PATCH))
            return torch.cat([self._hidden(part, grid_hw) for part in patches.split(images)])
        return self._hidden(patches, grid_hw)

    def _hidden(self, patches: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """One pass."""
        pixels = self.pixels(patches, grid_hw).to(self.dtype) * self._scale + self._shift
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        features = self.blocks(F.relu6(self.stem(pixels), inplace=True))
        features = F.relu6(self.head(features), inplace=True)
        rows, columns = grid_hw[0] // MERGE, grid_hw[1] // MERGE
        return F.adaptive_avg_pool2d(features, (rows, columns)).flatten(2).transpose(1, 2)

    @staticmethod
    def pixels(patches: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """Patches put together: `[B, N, 4704]` -> `[B, 3, H, W]`, the first of a still image's two frames."""
        rows, columns = grid_hw[0] // MERGE, grid_hw[1] // MERGE
        blocks = patches.view(-1, rows, columns, MERGE, MERGE, 3, 2, PATCH, PATCH)[:, :, :, :, :, :, 0]
        # -> [B, channel, row, row in window, patch row, column, column in window, patch column]
        ordered = blocks.permute(0, 5, 1, 3, 6, 2, 4, 7)
        return ordered.reshape(-1, 3, rows * MERGE * PATCH, columns * MERGE * PATCH)

    def forward(
        self, hidden_states: Tensor, grid_thw: Tensor, **options: object
    ) -> BaseModelOutputWithPooling:
        """As transformers calls it: the patches of several images one after the other, `[sum of N, 4704]`."""
        grids = [(int(rows), int(columns)) for _, rows, columns in grid_thw.tolist()]
        parts = hidden_states.split([rows * columns for rows, columns in grids])
        tokens = [
            self.merger(self.hidden(part[None], grid))[0] for part, grid in zip(parts, grids, strict=True)
        ]
        return BaseModelOutputWithPooling(pooler_output=torch.cat(tokens))


class SameConv(nn.Conv2d):
    """A convolution that pads as TensorFlow's SAME does: what is odd goes to the right and the bottom."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, depthwise: bool = False
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=inputs if depthwise else 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """`[B, C, H, W]` -> `[B, C', ceil(H / stride), ceil(W / stride)]`."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            return F.conv2d(pixels, self.weight, self.bias, padding=kernel // 2, groups=self.groups)
        padding = [
            edge
            for size in (pixels.shape[-1], pixels.shape[-2])
            for edge in _same_padding(size, kernel, stride)
        ]
        return F.conv2d(F.pad(pixels, padding), self.weight, self.bias, stride, groups=self.groups)


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class InvertedBottleneck(nn.Module):
    """Widen, convolve each channel by itself, narrow; added to its input where the shapes agree."""

    def __init__(self, width: int, stage: Stage, stride: int) -> None:
        super().__init__()
        wide = width * stage.expansion
        self.expand = SameConv(width, wide, kernel=1) if stage.expansion > 1 else None
        self.depthwise = SameConv(wide, wide, stage.kernel, stride, depthwise=True)
        self.project = SameConv(wide, stage.width, kernel=1)
        self._residual = stride == 1 and width == stage.width

    def forward(self, features: Tensor) -> Tensor:
        """`[B, C, H, W]` -> `[B, C', H / stride, W / stride]`."""
        wide = features if self.expand is None else F.relu6(self.expand(features), inplace=True)
        narrow: Tensor = self.project(F.relu6(self.depthwise(wide), inplace=True))
        return features + narrow if self._residual else narrow


class Merger(nn.Module):
    """From the network's channels to the language model's tokens; the counterpart of Qwen2-VL's merger."""

    def __init__(self, token_width: int) -> None:
        super().__init__()
        self.ln_q = nn.LayerNorm(CHANNELS, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(CHANNELS, CHANNELS), nn.GELU(), nn.Linear(CHANNELS, token_width))

    def forward(self, hidden: Tensor) -> Tensor:
        """`[B, T, 1280]` -> `[B, T, H]`."""
        tokens: Tensor = self.mlp(self.ln_q(hidden))
        return tokens
