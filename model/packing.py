"""Sequences of unequal length as one row of tokens, and back to the padded form that attention needs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Packing:
    """Where the tokens of right-padded sequences, `[B, L]`, stand once the padding is left out: `[T]`.

    Where every sequence is as long as the longest, both forms are views of the same memory.
    """

    def __init__(self, lengths: Sequence[int], longest: int, device: torch.device) -> None:
        self._shape = (len(lengths), longest)
        sizes = torch.tensor(lengths)
        self._starts = (sizes.cumsum(0) - sizes).to(device)
        self._tokens: Tensor | None = None
        if min(lengths) < longest:
            places = torch.arange(longest)
            real = places < sizes[:, None]
            self._tokens = real.flatten().nonzero()[:, 0].to(device)
            # Padding repeats its sequence's last token: it has to be finite, and nobody looks at it.
            last = torch.minimum(places, sizes[:, None] - 1)
            self._sources = (last.to(device) + self._starts[:, None]).flatten()

    def pack(self, padded: Tensor) -> Tensor:
        """`[B, L, ...]` to `[T, ...]`."""
        flat = padded.flatten(0, 1)
        return flat if self._tokens is None else flat.index_select(0, self._tokens)

    def pad(self, packed: Tensor) -> Tensor:
        """`[T, ...]` to `[B, L, ...]`."""
        rows = packed if self._tokens is None else packed.index_select(0, self._sources)
        return rows.unflatten(0, self._shape)

    def places(self, wanted: Tensor) -> Tensor:
        """Indices into the sequences, `[B, W]`, to indices into the tokens."""
        return wanted + self._starts[:, None]
