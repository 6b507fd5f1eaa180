"""Images in training: what they cost in a prompt, and their tokens, from a cache or through the tower."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from model.images import ImageFormat, PreparedImage, prepare_image
from model.vision import MERGE, encode_images, merge

KEPT_BYTES = 2 * 2**30  # of prepared patches; a step needs its images more than once
DECODERS = 8  # threads: Pillow decodes and resizes without the interpreter's lock


class TrainingImages(Protocol):
    """Images by path, as the batches and the student need them."""

    fixed_tokens: int
    """What every image takes in a prompt where all are of one size, else 0."""

    def prepare(self, paths: Sequence[str]) -> None:
        """Told which images the next sequences hold; a chance to decode them side by side."""

    def grid(self, path: str) -> tuple[int, int]:
        """Rows and columns of the image's tokens."""

    def tokens(self, visual: Any, paths: Sequence[str], dtype: torch.dtype) -> Tensor:
        """[T, H]: the images' tokens one image after the other, with gradients for what learns."""


class CachedFeatures:
    """Images of one size whose hidden states the frozen tower has computed before (`tower_features`)."""

    def __init__(self, features: Mapping[str, Tensor], side_tokens: int) -> None:
        """`features` [N, C] by path, before the merger; `side_tokens` is a side of the merged grid."""
        self.features, self.side_tokens = features, side_tokens
        self.fixed_tokens = side_tokens**2

    def prepare(self, paths: Sequence[str]) -> None:
        """Nothing is left to do."""

    def grid(self, path: str) -> tuple[int, int]:
        """The same for every image."""
        return self.side_tokens, self.side_tokens

    def tokens(self, visual: Any, paths: Sequence[str], dtype: torch.dtype) -> Tensor:
        """[T, H] through the merger alone, from features in `dtype`."""
        device = visual.merger.ln_q.weight.device
        hidden = torch.stack([self.features[path] for path in paths]).to(device)
        return merge(visual, hidden.to(dtype)).flatten(0, 1).to(dtype)


class LiveImages:
    """Images of any size that go through the tower in every step, as real Qwen2-VL checkpoints take them."""

    def __init__(self, root: Path, image_format: ImageFormat, checkpointing: bool = False) -> None:
        """`checkpointing`: where the tower learns, its activations are computed again instead of kept."""
        self.root, self.image_format, self.checkpointing = root, image_format, checkpointing
        self.fixed_tokens = 0
        self._grids: dict[str, tuple[int, int]] = {}
        self._kept: OrderedDict[str, PreparedImage] = OrderedDict()
        self._kept_bytes = 0
        self._lock = threading.Lock()
        self._decoders = ThreadPoolExecutor(DECODERS, thread_name_prefix="decode")

    def prepare(self, paths: Sequence[str]) -> None:
        """Decode and cut into patches what is not kept from before."""
        self._prepared(paths)

    def grid(self, path: str) -> tuple[int, int]:
        """Rows and columns after merging 2 x 2 patches."""
        if path not in self._grids:
            self._prepared([path])
        return self._grids[path]

    def tokens(self, visual: Any, paths: Sequence[str], dtype: torch.dtype) -> Tensor:
        """[T, H] through tower and merger; images of one grid are one batch."""
        images = self._prepared(paths)
        if self.checkpointing and any(parameter.requires_grad for parameter in visual.parameters()):
            encoded: Tensor = checkpoint(self._encode, visual, images, use_reentrant=False)
            return encoded.to(dtype)
        return self._encode(visual, images).to(dtype)

    @staticmethod
    def _encode(visual: Any, images: list[PreparedImage]) -> Tensor:
        return torch.cat(encode_images(visual, images))

    def _prepared(self, paths: Sequence[str]) -> list[PreparedImage]:
        with self._lock:
            found = {path: self._kept[path] for path in paths if path in self._kept}
        missing = [path for path in dict.fromkeys(paths) if path not in found]
        for path, image in zip(missing, self._decoders.map(self._read, missing), strict=True):
            found[path] = image
            with self._lock:
                self._keep(path, image)
        return [found[path] for path in paths]

    def _read(self, path: str) -> PreparedImage:
        return prepare_image((self.root / path).read_bytes(), self.image_format)

    def _keep(self, path: str, image: PreparedImage) -> None:
        _, rows, columns = image.grid_thw
        self._grids[path] = rows // MERGE, columns // MERGE
        if path in self._kept:  # the next step's batch is built beside this step
            return
        self._kept[path] = image
        self._kept_bytes += image.patches.nbytes
        while self._kept_bytes > KEPT_BYTES and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= oldest.patches.nbytes
