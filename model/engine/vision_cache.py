"""The image tokens of recently seen images, so that an image asked about again is not encoded again."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor


class VisionCache:
    """Least recently used features by the SHA-256 of the encoded image, bounded in items and in bytes."""

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._bytes = 0
        self._features: OrderedDict[str, Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._features)

    def get(self, sha256: str) -> Tensor | None:
        """The image's tokens, `[n, H]`, or None."""
        if sha256 in self._features:
            self._features.move_to_end(sha256)
        return self._features.get(sha256)

    def put(self, sha256: str, features: Tensor) -> None:
        """Remember an image's tokens, letting the least recently used go."""
        if sha256 in self._features:
            return
        self._features[sha256] = features
        self._bytes += features.nbytes
        while len(self._features) > self._max_items or self._bytes > self._max_bytes:
            _, dropped = self._features.popitem(last=False)
            self._bytes -= dropped.nbytes
