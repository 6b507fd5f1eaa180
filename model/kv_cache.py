"""Keys and values of the queries that are being augmented, in slots that are allocated and freed."""

from __future__ import annotations

import heapq
import math

import numpy as np
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

    def write(self, layer: int, slots: Tensor, positions: Tensor, keys: Tensor, values: Tensor) -> None:
        """Store one position a slot: `keys` and `values` are `[n, kv_heads, head_dim]`."""
        self.states[layer, 0, slots, :, positions] = keys
        self.states[layer, 1, slots, :, positions] = values

    def read(self, layer: int, slots: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Keys and values of the slots' first `length` positions, each `[n, kv_heads, length, head_dim]`."""
        filled = self.states[layer, :, :, :, :length]
        return filled[0].index_select(0, slots), filled[1].index_select(0, slots)


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros; on a CPU without touching the memory, as `torch.zeros` would (hundreds of megabytes)."""
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    untouched = np.zeros(math.prod(shape) * dtype.itemsize, dtype=np.uint8)
    return torch.from_numpy(untouched).view(dtype).view(shape)
