"""Sequences of unequal length as one row of tokens, and back to the padded form that attention needs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Packing:
    """Where the tokens of right-padded sequences, `[B, L]`, stand once the padding is left out: `[T]`.

    T is `room`, or where that is not given the number of tokens: the last is repeated to fill it, and what is
    computed for the copies is left out again. Where nothing has to be left out or repeated, both forms are
    views of the same memory.
    """

    def __init__(
        self, lengths: Sequence[int], longest: int, device: torch.device, room: int | None = None
    ) -> None:
        self._shape = (len(lengths), longest)
        sizes = torch.tensor(lengths)
        self._starts = (sizes.cumsum(0) - sizes).to(device)
        self._tokens: Tensor | None = None
        copies = 0 if room is None else room - sum(lengths)
        if min(lengths) < longest or copies:
            places = torch.arange(longest)
            tokens = (places < sizes[:, None]).flatten().nonzero()[:, 0]
            self._tokens = torch.cat([tokens, tokens[-1:].expand(copies)]).to(device)
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
