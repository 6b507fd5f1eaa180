"""Sequences of a batch one after the other, with no padding between them, through transformers' own layers.

Projections, norms and the feed-forward part see one row of all tokens; only attention has to know where a
sequence ends. It is registered with transformers as the implementation "packed" and gets the `Packing` in
the attention mask's place.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

PACKED = "packed"


@dataclass(frozen=True, slots=True)
class Packing:
    """Where the packed tokens of B sequences stand in a padded batch [B, L].

    slot [T] is each token's place in the flattened batch; last [B] is each sequence's last token among the
    T packed ones.
    """

    count: int
    longest: int
    slot: Tensor
    last: Tensor

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> Packing:
        """The packing of sequences of these lengths, in their order."""
        longest = max(lengths)
        ends = torch.tensor(lengths).cumsum(0)
        slot = torch.cat([number * longest + torch.arange(length) for number, length in enumerate(lengths)])
        return cls(len(lengths), longest, slot.to(device), (ends - 1).to(device))

    def padded(self, states: Tensor) -> Tensor:
        """[1, heads, T, D] -> [B, heads, L, D], zeros where no token is."""
        heads, dimension = states.shape[1], states.shape[3]
        rows = states.new_zeros(self.count * self.longest, heads, dimension)
        rows = rows.index_copy(0, self.slot, states[0].transpose(0, 1))
        return rows.view(self.count, self.longest, heads, dimension).transpose(1, 2)

    def packed(self, states: Tensor) -> Tensor:
        """[B, heads, L, D] -> [1, T, heads, D]."""
        return states.transpose(1, 2).flatten(0, 1).index_select(0, self.slot)[None]


def packed_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Packing | Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each sequence; query [1, heads, T, D], keys and values [1, kv_heads, T, D].

    Padding stands on the right, where causality hides it. Returns [1, T, heads, D] as transformers wants it.
    Without a `Packing` it is transformers' own "sdpa", so the model can be called in the ordinary way too.
    """
    if not isinstance(attention_mask, Packing):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
    group = module.num_key_value_groups
    padded = attention_mask.padded(query), attention_mask.padded(key), attention_mask.padded(value)
    # torch's backward pass of bf16 attention on a CPU takes several times as long as that of float32.
    on_cpu = query.device.type == "cpu"
    queries, keys, values = (states.float() for states in padded) if on_cpu else padded
    with torch.autocast("cpu", enabled=False) if on_cpu else nullcontext():
        mixed = F.scaled_dot_product_attention(
            queries,
            keys.repeat_interleave(group, dim=1),
            values.repeat_interleave(group, dim=1),
            dropout_p=dropout,
            is_causal=True,
            scale=scaling,
        )
    return attention_mask.packed(mixed.to(value.dtype)), None


def use_packed_attention(language_model: Any) -> None:
    """Make Qwen2-VL's text model take a `Packing` for its mask. Raises ValueError for sliding windows."""
    if set(language_model.config.layer_types) != {"full_attention"}:
        raise ValueError("Sliding-window attention cannot be trained; set use_sliding_window to false.")
    AttentionInterface.register(PACKED, packed_attention)
    AttentionMaskInterface.register(PACKED, sdpa_mask)
    language_model.config._attn_implementation = PACKED
