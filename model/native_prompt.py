"""What a prefill on a CPU does between its products, in compiled code (`model/kernels`).

Norms, rotary embeddings and attention are little arithmetic, but dozens of torch's operations, each of which
is dispatched, brings its threads together and writes its result out. Here they are three calls a layer.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.kernels.library import Attention, Norm, instruction_set, library
from model.native_step import StepShape, members


@dataclass(frozen=True, slots=True)
class Sequences:
    """A pass's sequences, one behind the other: the same for every layer.

    `starts` is `[B + 1]` int32, their first rows and what follows the last one's; `turns` `[T, head_dim]`
    float32, cosine and sine of each pair of dimensions.
    """

    starts: Tensor
    longest: int
    turns: Tensor

    @classmethod
    def of(cls, lengths: Sequence[int], turns: Tensor) -> Sequences:
        """From their lengths and every row's turns, `[T, head_dim / 2]` complex64.

        Raises `ValueError` where the lengths are not those of sequences within the rows.
        """
        if not lengths or min(lengths) < 1 or sum(lengths) > len(turns):
            raise ValueError(f"Sequences of {list(lengths)} tokens do not stand in {len(turns)} rows.")
        starts = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32, device="cpu")
        return cls(starts, max(lengths), torch.view_as_real(turns).flatten(1).contiguous())


class NativePrompt:
    """Norms and attention of a pass over packed sequences."""

    def __init__(self, shape: StepShape, epsilon: float, threads: int) -> None:
        """Raises `RuntimeError` where no kernels are compiled."""
        kernels = library()
        if kernels is None:
            raise RuntimeError("No kernels are compiled: get a C compiler, then install Solomon again.")
        self._kernels = kernels
        self._shape = shape
        self._epsilon = epsilon
        self._threads = threads

    @staticmethod
    def suits(shape: StepShape, dtype: torch.dtype, device: torch.device) -> bool:
        """Whether the kernels are here, are quicker than torch, and support sizes and dtype."""
        fits = shape.is_supported and dtype in (torch.float32, torch.bfloat16) and device.type == "cpu"
        return fits and instruction_set() not in (None, "baseline")

    def norm(self, hidden: Tensor, change: Tensor | None, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """`hidden += change`, in place, and its root-mean-square norm, `[T, H]` in `dtype`.

        `hidden` is `[T, H]` float32, `change` the same in `dtype`, `weight` `[H]` float32.
        """
        normed = torch.empty(hidden.shape, dtype=dtype, device="cpu")
        kept = None if change is None else checked(change, dtype, hidden.shape)
        self._kernels.norm_run(
            members(self._threads),
            Norm(
                rows=len(hidden),
                size=hidden.shape[1],
                float_states=dtype == torch.float32,
                epsilon=self._epsilon,
                hidden=checked(hidden, torch.float32, (len(hidden), self._shape.hidden)).data_ptr(),
                change=None if kept is None else kept.data_ptr(),
                weight=checked(weight, torch.float32, hidden.shape[1:]).data_ptr(),
                normed=normed.data_ptr(),
            ),
        )
        return normed

    def attend(self, states: Tensor, sequences: Sequences) -> Tensor:
        """Mixed values, `[T, heads head_dim]`.

        `states` is `[T, (heads + 2 kv_heads) head_dim]`, queries before keys before values, of which queries
        and keys are turned in place. For rows behind the last sequence there are zeros.
        """
        shape, rows = self._shape, len(states)
        inner = shape.heads * shape.head_dim
        mixed = torch.empty(rows, inner, dtype=states.dtype, device="cpu")
        work = Attention(
            heads=shape.heads,
            kv_heads=shape.kv_heads,
            head_dim=shape.head_dim,
            float_states=states.dtype == torch.float32,
            rows=rows,
            count=len(sequences.starts) - 1,
            longest=sequences.longest,
            starts=sequences.starts.data_ptr(),
            turns=checked(sequences.turns, torch.float32, (rows, shape.head_dim)).data_ptr(),
            states=checked(
                states, states.dtype, (rows, inner + 2 * shape.kv_heads * shape.head_dim)
            ).data_ptr(),
            mixed=mixed.data_ptr(),
        )
        threads = members(self._threads)
        floats = self._kernels.attention_floats(work, threads)
        workspace = torch.empty(floats, dtype=torch.float32, device="cpu")
        work.workspace = workspace.data_ptr()
        self._kernels.attention_run(threads, work)
        return mixed


def checked(tensor: Tensor, dtype: torch.dtype, shape: Sequence[int] | None = None) -> Tensor:
    """What is behind an address cannot be checked any more. Raises `ValueError`."""
    sound = tensor.dtype == dtype and tensor.device.type == "cpu" and tensor.is_contiguous()
    if not sound or (shape is not None and tuple(tensor.shape) != tuple(shape)):
        raise ValueError(
            f"Expected contiguous {dtype} {shape} on the CPU, not {tensor.dtype} {tensor.shape}."
        )
    return tensor
