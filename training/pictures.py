"""Images in training: what they cost in a prompt, and their tokens, from a cache or through the tower."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from model.errors import InputError
from model.images import ImageFormat, PreparedImage, prepare_image
from model.vision import MERGE, encode_images, merge

PATCH_BYTES = 2 * 2**30  # in memory; a step needs its images more than once
TOKEN_BYTES = 2**30  # on the device
DECODERS = 8  # threads: Pillow decodes and resizes without the interpreter's lock

Entry = TypeVar("Entry")


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
        device = next(visual.merger.parameters()).device
        hidden = torch.stack([self.features[path] for path in paths]).to(device)
        return merge(visual, hidden.to(dtype)).flatten(0, 1).to(dtype)


class LiveImages:
    """Images of any size that go through the tower in the step, as real Qwen2-VL checkpoints take them."""

    def __init__(self, root: Path, image_format: ImageFormat, checkpointing: bool = False) -> None:
        """`checkpointing`: where the tower learns, its activations are computed again instead of kept."""
        self.root, self.image_format, self.checkpointing = root, image_format, checkpointing
        self.fixed_tokens = 0
        self._grids: dict[str, tuple[int, int]] = {}
        self._patches: RecentImages[PreparedImage] = RecentImages(
            PATCH_BYTES, lambda image: image.patches.nbytes
        )
        self._tokens: RecentImages[Tensor] = RecentImages(TOKEN_BYTES, lambda tokens: tokens.nbytes)
        self._decoders = ThreadPoolExecutor(DECODERS, thread_name_prefix="decode")

    def prepare(self, paths: Sequence[str]) -> None:
        """Decode and cut into patches what is not kept from before. Raises ValueError for a broken image."""
        self._prepared(paths)

    def grid(self, path: str) -> tuple[int, int]:
        """Rows and columns after merging 2 x 2 patches."""
        if path not in self._grids:
            self._prepared([path])
        return self._grids[path]

    def tokens(self, visual: Any, paths: Sequence[str], dtype: torch.dtype) -> Tensor:
        """[T, H] through tower and merger; images of one grid are one batch.

        Where nothing in them learns, an image that is still kept is not encoded again: GradCache's second
        pass needs what its first has computed.
        """
        if not any(parameter.requires_grad for parameter in visual.parameters()):
            return torch.cat(self._frozen(visual, paths)).to(dtype)
        images = self._prepared(paths)
        if self.checkpointing:
            encoded: list[Tensor] = checkpoint(encode_images, visual, images, use_reentrant=False)
            return torch.cat(encoded).to(dtype)
        return torch.cat(encode_images(visual, images)).to(dtype)

    def _frozen(self, visual: Any, paths: Sequence[str]) -> list[Tensor]:
        found = self._tokens.among(paths)
        missing = [path for path in dict.fromkeys(paths) if path not in found]
        with torch.no_grad():
            encoded = encode_images(visual, self._prepared(missing)) if missing else []
        for path, tokens in zip(missing, encoded, strict=True):
            found[path] = tokens
            self._tokens.keep(path, tokens.clone())  # not the whole batch that it is a part of
        return [found[path] for path in paths]

    def _prepared(self, paths: Sequence[str]) -> list[PreparedImage]:
        found = self._patches.among(paths)
        missing = [path for path in dict.fromkeys(paths) if path not in found]
        for path, image in zip(missing, self._decoders.map(self._read, missing), strict=True):
            found[path] = image
            _, rows, columns = image.grid_thw
            self._grids[path] = rows // MERGE, columns // MERGE
            self._patches.keep(path, image)
        return [found[path] for path in paths]

    def _read(self, path: str) -> PreparedImage:
        try:
            return prepare_image((self.root / path).read_bytes(), self.image_format)
        except (InputError, OSError) as error:
            raise ValueError(f"The training image {self.root / path} cannot be used: {error}") from error


class RecentImages(Generic[Entry]):
    """The images used last, up to a number of bytes; the next step's batch is built beside this step."""

    def __init__(self, limit: int, size: Callable[[Entry], int]) -> None:
        self._limit, self._size = limit, size
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def among(self, paths: Iterable[str]) -> dict[str, Entry]:
        """Those of the paths that are kept."""
        with self._lock:
            found = {path: self._entries[path] for path in paths if path in self._entries}
            for path in found:
                self._entries.move_to_end(path)
            return found

    def keep(self, path: str, entry: Entry) -> None:
        """Keep an entry, and drop the ones unused for longest beyond the limit."""
        with self._lock:
            if path in self._entries:
                return
            self._entries[path] = entry
            self._bytes += self._size(entry)
            while self._bytes > self._limit and len(self._entries) > 1:
                _, oldest = self._entries.popitem(last=False)
                self._bytes -= self._size(oldest)
