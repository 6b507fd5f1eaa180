"""transformers' own text model behind the decoder's interface: what `Decoder` is compared with.

`EngineSettings(decoder="transformers")` runs the whole engine on it. It is slower, not another answer.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache, Qwen2VLForConditionalGeneration

from model.kv_cache import KVCache, PromptStates


class TransformersDecoder:
    """`Decoder`'s forward passes, each one call of transformers. Call under `torch.inference_mode()`."""

    pads = True

    def __init__(
        self, model: Qwen2VLForConditionalGeneration, dtype: torch.dtype, device: torch.device
    ) -> None:
        """Share the model's weights where their dtype and device fit, else copy them."""
        self._text = _placed(model.model.language_model, dtype, device)
        self._head = _placed(model.lm_head, dtype, device)
        config = self._text.config
        self.dtype = dtype
        self.device = device
        self.hidden_size = config.hidden_size
        self.layer_count = config.num_hidden_layers
        self.heads = config.num_attention_heads
        self.kv_heads = config.num_key_value_heads
        self.head_dim = config.hidden_size // config.num_attention_heads

    @property
    def decoding(self) -> str:
        """What computes a decode step."""
        return "transformers"

    @property
    def vocabulary_rows(self) -> int:
        """Rows of the output matrix."""
        return int(self._head.weight.shape[0])

    def warm(self, tokens: int) -> None:
        """Nothing is compiled here."""

    def embed(self, ids: Tensor) -> Tensor:
        """Token embeddings, `[B, L]` -> `[B, L, H]` float32."""
        return F.embedding(ids, self._text.embed_tokens.weight).float()

    def prefill(
        self, hidden: Tensor, positions: Tensor, wanted: Tensor, lengths: Sequence[int] | None = None
    ) -> tuple[Tensor, PromptStates]:
        """See `Decoder.prefill`; padding is computed like all else."""
        cache = DynamicCache(config=self._text.config)
        final = self._forward(hidden, positions, cache)
        chosen = final.gather(1, wanted[..., None].expand(-1, -1, self.hidden_size))
        return chosen, PromptStates([(layer.keys, layer.values) for layer in cache.layers])

    def extend(
        self, hidden: Tensor, positions: Tensor, wanted: Sequence[int], states: Tensor, start: int
    ) -> Tensor:
        """See `Decoder.extend`."""
        cache = self._cache(states[:, :, None, :, :start])
        final = self._forward(hidden[None], positions[:, None], cache)
        for layer, own in enumerate(cache.layers):
            states[layer, 0, :, start : start + len(hidden)] = own.keys[0, :, start:]
            states[layer, 1, :, start : start + len(hidden)] = own.values[0, :, start:]
        return final[0, list(wanted)]

    def decode(
        self, tokens: Sequence[int], positions: Sequence[int], slots: Sequence[int], cache: KVCache
    ) -> Tensor:
        """See `Decoder.decode`."""
        lengths = torch.tensor([cache.lengths[slot] for slot in slots], device=self.device)
        longest = int(lengths.max())
        earlier = self._cache(cache.states[:, :, list(slots), :, :longest])
        # Shorter slots are padded before the new token, which always stands last.
        seen = torch.arange(longest + 1, device=self.device)
        mask = (seen < lengths[:, None]) | (seen == longest)
        where = torch.tensor(positions, device=self.device).view(1, -1, 1).expand(3, -1, 1)
        hidden = self.embed(torch.tensor(tokens, device=self.device)[:, None])
        final = self._forward(hidden, where, earlier, mask.long())
        step = cache.step(slots)
        for index, layer in enumerate(earlier.layers):
            step.write(index, torch.stack([layer.keys[:, :, -1], layer.values[:, :, -1]], dim=1))
        return final[:, 0]

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits over the whole vocabulary, `[n, H]` -> `[n, V]` float32."""
        logits: Tensor = self._head(hidden.to(self.dtype))
        return logits.float()

    def logits_of(self, hidden: Tensor, token_ids: Sequence[int]) -> Tensor:
        """Logits of a few tokens only, `[n, H]` -> `[n, len(token_ids)]`, in float32."""
        return F.linear(hidden, self._head.weight[list(token_ids)].float())

    def _cache(self, states: Tensor) -> DynamicCache:
        """A cache that holds `[layers, 2, B, kv_heads, length, head_dim]`."""
        cache = DynamicCache(config=self._text.config)
        if states.shape[4]:
            for layer in range(self.layer_count):
                cache.update(states[layer, 0], states[layer, 1], layer)
        return cache

    def _forward(
        self, hidden: Tensor, positions: Tensor, cache: DynamicCache, mask: Tensor | None = None
    ) -> Tensor:
        output = self._text(
            inputs_embeds=hidden.to(self.dtype),
            position_ids=positions,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
        )
        final: Tensor = output.last_hidden_state
        return final.float()


def _placed(module: Any, dtype: torch.dtype, device: torch.device) -> Any:
    """The module itself if its weights are as asked for, else a copy that is."""
    weight = next(module.parameters())
    if (weight.dtype, weight.device) == (dtype, device):
        return module
    return copy.deepcopy(module).to(device, dtype)
