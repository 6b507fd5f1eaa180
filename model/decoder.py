"""Qwen2-VL's text model, lean: prefill a padded batch, extend one long prompt, decode a token for many slots.

The weights come from a loaded transformers model with its adapter merged. Projections that share an
input are fused, the residual stream and the norms stay in float32, and logits are computed only where
they are asked for. transformers' own forward is the baseline that the tests compare with (`baseline.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Qwen2VLForConditionalGeneration

from model.decoder_layer import DecoderLayer, fused
from model.kernels.library import instruction_set
from model.kv_cache import KeptStates, KVCache, PackedStates, PromptStates
from model.linear import kept_rows, packs
from model.native_pass import NativePass, TiledLayer
from model.native_prompt import NativePrompt, Sequences
from model.native_step import NativeStep, StepLayer, StepShape, quantised
from model.packing import Packing
from model.rope import Rotary, turn
from model.tiles import tiles_suit


class Decoder:
    """The text model's weights and its forward passes. Call under `torch.inference_mode()`."""

    def __init__(
        self,
        model: Qwen2VLForConditionalGeneration,
        dtype: torch.dtype,
        device: torch.device,
        int8_steps: bool = False,
        threads: int | None = None,
        compiled: bool = True,
    ) -> None:
        """Copy the text weights out of `model`. Raises `ValueError` for a variant that is not supported.

        `int8_steps`: decode by the compiled kernels (CPU only) where they support the model's sizes, with
        so many `threads` (None: torch's). `compiled`: let them compute a prefill's norms and attention, too,
        wherever they suit, and all of it where there is AMX; the results are torch's but for rounding.
        """
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
            shape = StepShape(
                config.hidden_size, config.intermediate_size, self.heads, self.kv_heads, self.head_dim
            )
            members = threads or torch.get_num_threads()
            whole = compiled and tiles_suit(shape, dtype, device)
            suits = compiled and not whole and NativePrompt.suits(shape, dtype, device)
            self._native_prompt = NativePrompt(shape, self._epsilon, members) if suits else None
            native = int8_steps and shape.is_supported and device.type == "cpu"
            self._packed = not whole and packs(device, dtype)
            steps: list[StepLayer] = []
            tiles: list[TiledLayer] = []
            self._layers: list[DecoderLayer] = []
            for layer in text.layers:  # one at a time, so that only one is there twice
                weights = fused(layer, self.head_dim, dtype, device)
                if whole:
                    tiles.append(weights.tiled())
                    self._layers.append(DecoderLayer.of_tiles(tiles[-1], members))
                else:
                    self._layers.append(DecoderLayer.of(weights, self._packed))
                if native:
                    steps.append(weights.quantised())
            self._native_pass = NativePass(shape, tiles, self._epsilon, members) if whole else None
            self._native: NativeStep | None = None
            if native:
                head = quantised(self._head)
                self._native = NativeStep(shape, steps, self._norm, head, self._epsilon, members)

    @property
    def vocabulary_rows(self) -> int:
        """Rows of the output matrix; at least the tokenizer's vocabulary."""
        return self._head.shape[0]

    @property
    def projection_weights(self) -> int:
        """Weights that every token of a prefill is multiplied with; embeddings and head are none of them."""
        return sum(layer.weights for layer in self._layers)

    @property
    def pads(self) -> bool:
        """Whether a prefill computes anything for the padding of its shorter prompts."""
        return self._native_prompt is None and self._native_pass is None

    @property
    def step_threads(self) -> int | None:
        """Threads of the compiled kernels; None where torch decodes."""
        return None if self._native is None else self._native.threads

    @property
    def decoding(self) -> str:
        """What computes a decode step: "avx2 int8", or other kernels' instruction set; or "torch"."""
        return "torch" if self._native is None else f"{instruction_set()} int8"

    @property
    def decode_bytes(self) -> int:
        """Bytes of weights that a decode step with logits reads."""
        if self._native is not None:
            return self._native.stored_bytes
        return (self.projection_weights + self._head.numel()) * self.dtype.itemsize

    def warm(self, tokens: int) -> None:
        """Have oneDNN compile all that prefills of up to `tokens` need, for which they would have to wait.

        Memory is then taken at the start, and not bit by bit as batches of other sizes come.
        """
        rows, layer = 0, self._layers[0]  # the others' products have the same shapes
        while self._packed and rows < tokens:
            rows = kept_rows(rows + 1)
            hidden = torch.zeros(rows, self.hidden_size, dtype=self.dtype)
            layer.qkv(hidden)
            layer.out(hidden.new_zeros(rows, self.heads * self.head_dim))
            layer.down(layer.gated(hidden))

    def embed(self, ids: Tensor) -> Tensor:
        """Token embeddings, `[B, L]` -> `[B, L, H]` float32."""
        return F.embedding(ids, self._embeddings).float()

    def prefill(
        self, hidden: Tensor, positions: Tensor, wanted: Tensor, lengths: Sequence[int] | None = None
    ) -> tuple[Tensor, KeptStates]:
        """One causal pass over right-padded sequences.

        `hidden` is `[B, L, H]` float32 input embeddings, `positions` `[3, B, L]`, `wanted` `[B, W]` the
        indices whose final hidden states are returned, `[B, W, H]` float32. With `lengths` `[B]` only
        attention sees the padding: all else is computed for the tokens alone. Also returned are all rows'
        keys and values, as views. Padding on the right needs no mask: no token sees what follows it.
        """
        sizes = lengths or [hidden.shape[1]] * len(hidden)
        if not 1 <= min(sizes) <= max(sizes) <= hidden.shape[1]:
            raise ValueError(f"Sequences of {list(sizes)} tokens do not stand in {hidden.shape[1]} places.")
        packing = self._packing(sizes, hidden.shape[1])
        if self._native_pass is not None:
            return self._whole_prefill(self._native_pass, packing, sizes, hidden, positions, wanted)
        if self._native_prompt is not None:
            return self._compiled_prefill(self._native_prompt, packing, sizes, hidden, positions, wanted)
        kept: list[tuple[Tensor, Tensor]] = []
        turns = packing.pack(self._rotary(positions))
        hidden = packing.pack(hidden)
        for layer in self._layers:
            rotated, value = (packing.pad(states) for states in self._project(layer, hidden, turns))
            query, key = rotated.split([self.heads, self.kv_heads], dim=2)
            query, key, value = (states.transpose(1, 2) for states in (query, key, value))
            kept.append((key, value))
            mixed = F.scaled_dot_product_attention(
                query, self._per_head(key), self._per_head(value), is_causal=True
            )
            hidden = self._complete(layer, hidden, packing.pack(mixed.transpose(1, 2)))
        chosen = hidden[packing.places(wanted)]
        return _rms_norm(chosen, self._norm, self._epsilon), PromptStates(kept)

    def _whole_prefill(
        self,
        layers: NativePass,
        packing: Packing,
        lengths: Sequence[int],
        hidden: Tensor,
        positions: Tensor,
        wanted: Tensor,
    ) -> tuple[Tensor, KeptStates]:
        """`prefill` in one call of compiled code."""
        sequences = Sequences.of(lengths, packing.pack(self._rotary(positions)).flatten(1))
        stream = packing.pack(hidden).clone(memory_format=torch.contiguous_format)
        kept = PackedStates(layers.run(stream, sequences).unbind(0), lengths, self.kv_heads)
        return _rms_norm(stream[packing.places(wanted)], self._norm, self._epsilon), kept

    def _compiled_prefill(
        self,
        between: NativePrompt,
        packing: Packing,
        lengths: Sequence[int],
        hidden: Tensor,
        positions: Tensor,
        wanted: Tensor,
    ) -> tuple[Tensor, KeptStates]:
        """`prefill` with what stands between the products compiled; padding is left out of everything."""
        sequences = Sequences.of(lengths, packing.pack(self._rotary(positions)).flatten(1))
        # A copy, to be added to in place: what is packed may be the caller's own.
        hidden = packing.pack(hidden).clone(memory_format=torch.contiguous_format)
        kept: list[Tensor] = []
        change: Tensor | None = None
        for layer in self._layers:
            states = layer.qkv(between.norm(hidden, change, layer.attention_norm, self.dtype))
            mixed = between.attend(states, sequences)
            kept.append(states.view(len(hidden), -1, self.head_dim))
            normed = between.norm(hidden, layer.out(mixed), layer.mlp_norm, self.dtype)
            change = layer.down(layer.gated(normed))
        chosen = packing.places(wanted)
        last = hidden[chosen] if change is None else hidden[chosen] + change[chosen]
        return _rms_norm(last, self._norm, self._epsilon), PackedStates(kept, lengths, self.kv_heads)

    def extend(
        self, hidden: Tensor, positions: Tensor, wanted: Sequence[int], states: Tensor, start: int
    ) -> Tensor:
        """A part of one long sequence, after the `start` tokens whose keys and values `states` holds.

        `hidden` is `[L, H]` float32, `positions` `[3, L]`, `states` `[layers, 2, kv_heads, capacity,
        head_dim]`; the part's keys and values are written there. Returns the final hidden states at the
        part's indices `wanted`, `[W, H]` float32. Running a part again changes nothing.
        """
        end = start + len(hidden)
        places = torch.arange(end, device=self.device)
        visible = places <= places[start:, None]
        packing = self._packing([len(hidden)], len(hidden))
        turns, hidden = packing.pack(self._rotary(positions[:, None])), packing.pack(hidden[None])
        for index, layer in enumerate(self._layers):
            rotated, value = (packing.pad(made) for made in self._project(layer, hidden, turns))
            query, key = rotated.split([self.heads, self.kv_heads], dim=2)
            states[index, 0, :, start:end] = key[0].transpose(0, 1)
            states[index, 1, :, start:end] = value[0].transpose(0, 1)
            keys, values = states[index, :, None, :, :end].unbind(0)
            mixed = F.scaled_dot_product_attention(
                query.transpose(1, 2), self._per_head(keys), self._per_head(values), attn_mask=visible
            )
            hidden = self._complete(layer, hidden, packing.pack(mixed.transpose(1, 2)))
        return _rms_norm(hidden[list(wanted)], self._norm, self._epsilon)

    def decode(
        self, tokens: Sequence[int], positions: Sequence[int], slots: Sequence[int], cache: KVCache
    ) -> Tensor:
        """Feed one token to every slot; final hidden states, `[n, H]` float32.

        Keys and values go to each slot's next free place, but the slots' lengths are left for the caller
        to advance, so a failed pass can simply be run again. Every operation of torch counts here: a step
        of one row is as many of them as a prefill of thousands.
        """
        count, rotated = len(slots), self.heads + self.kv_heads
        where = torch.tensor(positions, device=self.device).view(1, count, 1).expand(3, count, 1)
        turns = self._rotary(where)[:, 0]
        hidden = self.embed(torch.tensor(tokens, device=self.device))
        if self._native is not None:
            return self._native.decode(hidden, turns[:, 0], slots, cache)
        step = cache.step(slots)
        for index, layer in enumerate(self._layers):
            normed = _rms_norm(hidden, layer.attention_norm, self._epsilon)
            states = layer.qkv(normed.to(self.dtype)).float().view(count, -1, self.head_dim)
            torch.view_as_complex(states[:, :rotated].unflatten(-1, (-1, 2))).mul_(turns)
            step.write(index, states[:, self.heads :].view(count, 2, self.kv_heads, self.head_dim))
            keys, values = step.read(index)
            # The heads of a group stand as queries of their shared key head: nothing is expanded.
            query = states[:, : self.heads].to(keys.dtype).view(count, self.kv_heads, -1, self.head_dim)
            mixed = F.scaled_dot_product_attention(query, keys, values, attn_mask=step.mask)
            hidden = hidden + layer.out(mixed.reshape(count, -1))
            normed = _rms_norm(hidden, layer.mlp_norm, self._epsilon).to(self.dtype)
            hidden = hidden + layer.down(layer.gated(normed))
        return _rms_norm(hidden, self._norm, self._epsilon)

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits over the whole vocabulary, `[n, H]` float32 -> `[n, V]` float32."""
        if self._native is not None:
            return self._native.logits(hidden)
        return F.linear(hidden.to(self.dtype), self._head).float()

    def logits_of(self, hidden: Tensor, token_ids: Sequence[int]) -> Tensor:
        """Logits of a few tokens only, `[n, H]` -> `[n, len(token_ids)]`, in float32 throughout."""
        return F.linear(hidden, self._head[list(token_ids)].float())

    def _packing(self, lengths: Sequence[int], longest: int) -> Packing:
        return Packing(lengths, longest, self.device, kept_rows(sum(lengths)) if self._packed else None)

    def _project(self, layer: DecoderLayer, hidden: Tensor, turns: Tensor) -> tuple[Tensor, Tensor]:
        """Rotated queries and keys `[T, heads + kv_heads, d]`, and values `[T, kv_heads, d]`, of `[T, H]`."""
        normed = _rms_norm(hidden, layer.attention_norm, self._epsilon).to(self.dtype)
        states = layer.qkv(normed).view(len(hidden), -1, self.head_dim)
        rotated, value = states.split([self.heads + self.kv_heads, self.kv_heads], dim=1)
        return turn(rotated, turns), value

    def _per_head(self, states: Tensor) -> Tensor:
        """Keys or values `[B, kv_heads, L, d]` repeated for every head of their group."""
        return states.repeat_interleave(self.heads // self.kv_heads, dim=1)

    def _complete(self, layer: DecoderLayer, hidden: Tensor, mixed: Tensor) -> Tensor:
        """The rest of a layer, from the mixed values `[T, heads, d]`."""
        hidden = hidden + layer.out(mixed.flatten(1))
        normed = _rms_norm(hidden, layer.mlp_norm, self._epsilon).to(self.dtype)
        return hidden + layer.down(layer.gated(normed))


def _rms_norm(hidden: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Root-mean-square norm of a float32 stream."""
    return F.rms_norm(hidden, (hidden.shape[-1],), weight, epsilon)
