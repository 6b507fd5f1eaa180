"""Qwen2-VL's text model, lean: prefill a padded batch, decode one token for many slots.

The weights come from a loaded transformers model with its adapter merged. Projections that share an
input are fused, the residual stream and the norms stay in float32, and logits are computed only where
they are asked for. transformers' own forward is the baseline that the tests compare with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Qwen2VLForConditionalGeneration
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLDecoderLayer

from model.kv_cache import KVCache
from model.rope import Rotary, rotate


@dataclass(frozen=True, slots=True)
class _Layer:
    """One layer's weights; norms in float32, the rest in the decoder's dtype."""

    attention_norm: Tensor
    qkv: Tensor
    qkv_bias: Tensor
    out: Tensor
    mlp_norm: Tensor
    gate_up: Tensor
    down: Tensor


class Decoder:
    """The text model's weights and its two forward passes. Call under `torch.inference_mode()`."""

    def __init__(
        self, model: Qwen2VLForConditionalGeneration, dtype: torch.dtype, device: torch.device
    ) -> None:
        """Copy the text weights out of `model`. Raises `ValueError` for a variant that is not supported."""
        text = model.model.language_model
        config = text.config
        if any(kind != "full_attention" for kind in config.layer_types):
            raise ValueError("Sliding-window attention is not supported; set use_sliding_window to false.")
        if config.hidden_act != "silu":
            raise ValueError(f"The activation must be silu, not {config.hidden_act!r}.")
        self.dtype = dtype
        self.device = device
        self.hidden_size = config.hidden_size
        self.layer_count = config.num_hidden_layers
        self.heads = config.num_attention_heads
        self.kv_heads = config.num_key_value_heads
        self.head_dim = config.hidden_size // config.num_attention_heads
        self._epsilon = config.rms_norm_eps
        self._rotary = Rotary(config, device)
        with torch.no_grad():
            self._embeddings = text.embed_tokens.weight.detach().to(device, dtype)
            tied = model.lm_head.weight is text.embed_tokens.weight  # then one copy serves both
            self._head = self._embeddings if tied else model.lm_head.weight.detach().to(device, dtype)
            self._norm = text.norm.weight.detach().to(device, torch.float32)
            self._layers = [_fuse(layer, dtype, device) for layer in text.layers]

    @property
    def vocabulary_rows(self) -> int:
        """Rows of the output matrix; at least the tokenizer's vocabulary."""
        return self._head.shape[0]

    def embed(self, ids: Tensor) -> Tensor:
        """Token embeddings, `[B, L]` -> `[B, L, H]` float32."""
        return F.embedding(ids, self._embeddings).float()

    def prefill(
        self, hidden: Tensor, positions: Tensor, wanted: Tensor, keep: Sequence[int] = ()
    ) -> tuple[Tensor, Tensor | None]:
        """One causal pass over right-padded sequences.

        `hidden` is `[B, L, H]` float32 input embeddings, `positions` `[3, B, L]`, `wanted` `[B, W]` the
        indices whose final hidden states are returned, `[B, W, H]` float32. Also returned are the keys
        and values of the rows in `keep`, `[layers, 2, len(keep), kv_heads, L, head_dim]`, or None when
        there are none. Padding on the right needs no mask: no token sees what follows it.
        """
        rows = torch.tensor(list(keep), device=self.device, dtype=torch.long)
        kept: list[Tensor] = []
        cos, sin = self._rotary(positions)
        group = self.heads // self.kv_heads
        for layer in self._layers:
            query, key, value = self._project(layer, hidden, cos, sin)
            if keep:
                kept.append(torch.stack([key.index_select(0, rows), value.index_select(0, rows)]))
            mixed = F.scaled_dot_product_attention(
                query,
                key.repeat_interleave(group, dim=1),
                value.repeat_interleave(group, dim=1),
                is_causal=True,
            )
            hidden = self._complete(layer, hidden, mixed.transpose(1, 2).flatten(2))
        chosen = hidden.gather(1, wanted[..., None].expand(-1, -1, self.hidden_size))
        return _rms_norm(chosen, self._norm, self._epsilon), torch.stack(kept) if kept else None

    def decode(
        self, tokens: Sequence[int], positions: Sequence[int], slots: Sequence[int], cache: KVCache
    ) -> Tensor:
        """Feed one token to every slot; final hidden states, `[n, H]` float32.

        Keys and values go to each slot's next free place, but the slots' lengths are left for the caller
        to advance, so a failed pass can simply be run again.
        """
        lengths = [cache.lengths[slot] for slot in slots]
        places = torch.tensor(lengths, device=self.device)
        rows = torch.tensor(slots, device=self.device)
        span = max(lengths) + 1
        visible = (torch.arange(span, device=self.device) <= places[:, None])[:, None, None]
        cos, sin = self._rotary(torch.tensor(positions, device=self.device).view(1, -1, 1).expand(3, -1, 1))
        hidden = self.embed(torch.tensor(tokens, device=self.device)[:, None])
        for index, layer in enumerate(self._layers):
            query, key, value = self._project(layer, hidden, cos, sin)
            cache.write(index, rows, places, key[:, :, 0], value[:, :, 0])
            keys, values = cache.read(index, rows, span)
            # The heads of a group stand as queries of their shared key head: nothing is expanded.
            grouped = query.view(len(slots), self.kv_heads, -1, self.head_dim)
            mixed = F.scaled_dot_product_attention(grouped, keys, values, attn_mask=visible)
            hidden = self._complete(layer, hidden, mixed.reshape(len(slots), 1, -1))
        return _rms_norm(hidden[:, 0], self._norm, self._epsilon)

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits over the whole vocabulary, `[n, H]` -> `[n, V]` float32."""
        return F.linear(hidden.to(self.dtype), self._head).float()

    def logits_of(self, hidden: Tensor, token_ids: Sequence[int]) -> Tensor:
        """Logits of a few tokens only, `[n, H]` -> `[n, len(token_ids)]`, in float32 throughout."""
        return F.linear(hidden, self._head[list(token_ids)].float())

    def _project(
        self, layer: _Layer, hidden: Tensor, cos: Tensor, sin: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries `[B, heads, L, d]`, rotated keys and values `[B, kv_heads, L, d]`."""
        normed = _rms_norm(hidden, layer.attention_norm, self._epsilon).to(self.dtype)
        qkv = F.linear(normed, layer.qkv, layer.qkv_bias)
        states = qkv.view(*hidden.shape[:2], -1, self.head_dim).transpose(1, 2)
        query, key, value = states.split([self.heads, self.kv_heads, self.kv_heads], dim=1)
        return rotate(query, cos, sin), rotate(key, cos, sin), value

    def _complete(self, layer: _Layer, hidden: Tensor, mixed: Tensor) -> Tensor:
        """The rest of a layer, from the mixed values `[B, L, heads * d]`."""
        hidden = hidden + F.linear(mixed, layer.out)
        normed = _rms_norm(hidden, layer.mlp_norm, self._epsilon).to(self.dtype)
        gate, up = F.linear(normed, layer.gate_up).chunk(2, dim=-1)
        return hidden + F.linear(F.silu(gate) * up, layer.down)


def _rms_norm(hidden: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Root-mean-square norm of a float32 stream."""
    return F.rms_norm(hidden, (hidden.shape[-1],), weight, epsilon)


def _fuse(layer: Qwen2VLDecoderLayer, dtype: torch.dtype, device: torch.device) -> _Layer:
    """A layer's weights with the projections that share an input joined, as copies."""
    attention, mlp = layer.self_attn, layer.mlp
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)

    def place(tensor: Tensor) -> Tensor:
        return tensor.detach().to(device, dtype).contiguous()

    return _Layer(
        attention_norm=layer.input_layernorm.weight.detach().to(device, torch.float32),
        qkv=place(torch.cat([projection.weight for projection in projections])),
        qkv_bias=place(torch.cat([projection.bias for projection in projections])),
        out=place(attention.o_proj.weight),
        mlp_norm=layer.post_attention_layernorm.weight.detach().to(device, torch.float32),
        gate_up=place(torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])),
        down=place(mlp.down_proj.weight),
    )
