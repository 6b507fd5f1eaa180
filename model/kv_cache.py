"""Keys and values of the queries that are being augmented, in slots that are allocated and freed."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
import mmap
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class KVCache:
    """Preallocated keys and values, `states[layers, 2, slots, kv_heads, capacity, head_dim]`.

    `lengths[slot]` says how many positions of a slot are filled. What lies past it is masked out of the
    attention but must be finite, for even a weight of zero keeps a NaN: hence the zeros at the start and
    in freed slots. The lowest free slot is taken first: on a CPU, where the zeroed memory is only
    claimed once it is touched, a lightly used cache stays small.
    """

    def __init__(
        self,
        layers: int,
        slots: int,
        kv_heads: int,
        capacity: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.states = _zeros((layers, 2, slots, kv_heads, capacity, head_dim), dtype, device)
        self.lengths = [0] * slots
        self._free = list(range(slots))

    @property
    def capacity(self) -> int:
        """Positions that a slot holds."""
        return self.states.shape[4]

    @property
    def free_slots(self) -> int:
        """How many more queries can be taken in."""
        return len(self._free)

    def allocate(self, prompt: Tensor) -> int:
        """Copy a prompt's keys and values, `[layers, 2, kv_heads, P, head_dim]`, into a free slot.

        The slot's length becomes P. Raises `IndexError` when no slot is free.
        """
        slot = self._free[0]
        length = prompt.shape[3]
        self.states[:, :, slot, :, :length] = prompt
        self.lengths[slot] = length
        return heapq.heappop(self._free)  # only now: a copy that failed leaves the slot free

    def free(self, slot: int) -> None:
        """Give a slot back. Raises `ValueError` if it is free already."""
        if slot in self._free:
            raise ValueError(f"Slot {slot} is free already.")
        # One more than its length: a step that failed has written a place without advancing.
        self.states[:, :, slot, :, : self.lengths[slot] + 1] = 0
        self.lengths[slot] = 0
        heapq.heappush(self._free, slot)

    def step(self, slots: Sequence[int]) -> CacheStep:
        """One decode step's view of some slots, each of which is given one more position."""
        return CacheStep(self.states, slots, [self.lengths[slot] for slot in slots])


class CacheStep:
    """Where one decode step writes and reads: worked out once, used in every layer.

    Slots that stand side by side are read where they are; only others are gathered into a copy. `mask` is
    `[n, 1, 1, span]`, added to the attention's scores, or None when all slots are equally long.
    """

    def __init__(self, states: Tensor, slots: Sequence[int], lengths: Sequence[int]) -> None:
        count, span, first = len(slots), max(lengths) + 1, slots[0]
        filled = states[:, :, :, :, :span]
        adjacent = list(slots) == list(range(first, first + count))
        self._gathered = None if adjacent else torch.tensor(slots, device=states.device)
        self._filled = (filled[:, :, first : first + count] if adjacent else filled).unbind(0)
        self._places: tuple[Tensor, Tensor] | None = None
        if count == 1:
            self._targets = states[:, None, :, first, :, lengths[0]].unbind(0)
        else:
            self._targets = states.permute(0, 2, 4, 1, 3, 5).unbind(0)
            self._places = (
                torch.tensor(slots, device=states.device),
                torch.tensor(lengths, device=states.device),
            )
        self.mask: Tensor | None = None
        if min(lengths) + 1 < span:
            last = torch.tensor(lengths, device=states.device)[:, None]
            hidden = torch.arange(span, device=states.device) > last
            scores = torch.zeros(hidden.shape, dtype=states.dtype, device=states.device)
            self.mask = scores.masked_fill_(hidden, -torch.inf)[:, None, None]

    def write(self, layer: int, states: Tensor) -> None:
        """Store the step's keys and values, `[n, 2, kv_heads, head_dim]`."""
        if self._places is None:
            self._targets[layer].copy_(states)
        else:
            self._targets[layer].index_put_(self._places, states.to(self._targets[layer].dtype))

    def read(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values with the step's own position, each `[n, kv_heads, span, head_dim]`."""
        keys, values = self._filled[layer].unbind(0)
        if self._gathered is None:
            return keys, values
        return keys.index_select(0, self._gathered), values.index_select(0, self._gathered)


class KeptStates(Protocol):
    """The keys and values of a prefilled batch. What nobody asks for is never copied."""

    def of(self, row: int, length: int) -> Tensor:
        """A row's first `length` positions as `[layers, 2, kv_heads, length, head_dim]`, a copy."""
        ...


class PackedStates:
    """Those of sequences that stand one behind the other: each layer's `[T, heads + 2 kv_heads, head_dim]`.

    Keys come before values, and both behind the queries, which nobody asks for.
    """

    def __init__(self, layers: Sequence[Tensor], lengths: Sequence[int], kv_heads: int) -> None:
        self._layers = layers
        self._starts = [0, *itertools.accumulate(lengths)]
        self._kv_heads = kv_heads

    def of(self, row: int, length: int) -> Tensor:
        """A row's first `length` positions as `[layers, 2, kv_heads, length, head_dim]`, a copy."""
        start, kept = self._starts[row], 2 * self._kv_heads
        states = torch.stack([layer[start : start + length, -kept:] for layer in self._layers])
        return states.unflatten(2, (2, self._kv_heads)).permute(0, 2, 3, 1, 4)


class PromptStates:
    """Those of padded sequences, layer by layer, each `[B, kv_heads, L, head_dim]`."""

    def __init__(self, layers: Sequence[tuple[Tensor, Tensor]]) -> None:
        self._layers = layers

    def of(self, row: int, length: int) -> Tensor:
        """A row's first `length` positions as `[layers, 2, kv_heads, length, head_dim]`, a copy."""
        return torch.stack([states[row, :, :length] for layer in self._layers for states in layer]).unflatten(
            0, (len(self._layers), 2)
        )


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros; on a CPU without touching the memory, as `torch.zeros` would (hundreds of megabytes).

    Nor in huge pages, of which the few tokens of a slot would claim one for every layer and head: a slot of
    a thousand positions would take fifty megabytes, however short its answer.
    """
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    count = math.prod(shape)
    memory = mmap.mmap(-1, max(1, count * dtype.itemsize))
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel that knows no huge pages
            memory.madvise(mmap.MADV_NOHUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype, count=count).view(shape)
