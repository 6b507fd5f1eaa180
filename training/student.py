"""The model in training: a Qwen2-VL with LoRA, trainable route tokens and, where asked for, vision."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from model.prompts import RouteTokens
from model.rope import ImageSpan, prompt_positions
from training.batches import Encoded
from training.pictures import TrainingImages
from training.recipe import Recipe

LORA_TARGETS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
GROUP = 16  # sequences of one padded pass on a CPU
VISION_LORA_TARGETS = r".*visual\.blocks.*\.(qkv|proj|fc1|fc2)"


class Encodings(NamedTuple):
    """What one forward pass over padded sequences gives.

    pooled [B, D], unit length, at each sequence's last token (EOS); response_logits [R, V] before each
    response token, and response [R], those tokens.
    """

    pooled: Tensor
    response_logits: Tensor
    response: Tensor


def add_lora(model: Any, recipe: Recipe, routes: RouteTokens) -> Any:
    """Wrap a Qwen2-VL for training: LoRA in every text projection, the two route tokens trainable.

    A recipe with `vision_tower = "lora"` adapts the projections of the vision blocks as well. Where input
    and output embeddings are one matrix, peft ties the trained rows too; else both learn.
    """
    route_rows = [routes.embed_id, routes.augment_id]
    matrices = ["embed_tokens"] if model.config.tie_word_embeddings else ["embed_tokens", "lm_head"]
    vision = f"|{VISION_LORA_TARGETS}" if recipe.vision_tower == "lora" else ""
    config = LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        target_modules=LORA_TARGETS + vision,
        trainable_token_indices=dict.fromkeys(matrices, route_rows),
    )
    adapted = get_peft_model(model, config)
    for module in adapted.modules():
        # Autocast chooses the precision; peft's own cast to float32 would only copy every input.
        if isinstance(module, LoraLayer):
            module.cast_input_dtype_enabled = False
    return adapted


class Student(nn.Module):
    """Runs padded batches through the adapted model; pads stand on the right, where causality hides them."""

    def __init__(self, peft_model: Any, routes: RouteTokens, images: TrainingImages) -> None:
        """`images` gives the tokens of the images that the sequences name."""
        super().__init__()
        self.peft_model = peft_model
        self.routes, self.images = routes, images

    @property
    def qwen(self) -> Any:
        """The Qwen2-VL under the adapter."""
        return self.peft_model.get_base_model()

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        device: torch.device = next(self.peft_model.parameters()).device
        return device

    def forward(self, sequences: list[Encoded], generation: bool = True) -> Encodings:
        """Encode sequences; see `Encodings`. Without `generation` the responses are left out.

        On a CPU sequences of like length go together, for a padded token costs as much as a real one
        there (captions: a third of all). The order of what is returned is that of the sequences.
        """
        grouped = self.device.type == "cpu" and len(sequences) > GROUP
        if not grouped:
            return self._encode(sequences, generation)
        order = sorted(range(len(sequences)), key=lambda number: len(sequences[number].ids))
        groups = [order[start : start + GROUP] for start in range(0, len(order), GROUP)]
        parts = [self._encode([sequences[number] for number in group], generation) for group in groups]
        place = torch.tensor(order).argsort()
        responses = [sequences[number].response if generation else 0 for number in order]
        ends = torch.tensor(responses).cumsum(0)
        token = [
            index for at in place.tolist() for index in range(int(ends[at]) - responses[at], int(ends[at]))
        ]
        return Encodings(
            torch.cat([part.pooled for part in parts])[place.to(self.device)],
            torch.cat([part.response_logits for part in parts])[token],
            torch.cat([part.response for part in parts])[token],
        )

    def _encode(self, sequences: list[Encoded], generation: bool) -> Encodings:
        """One padded pass."""
        ids, positions = self._padded(sequences)
        device = self.device
        ids = ids.to(device)
        embedded = self._with_images(self.qwen.get_input_embeddings()(ids), ids, sequences)
        hidden = self.qwen.model.language_model(
            inputs_embeds=embedded, position_ids=positions.to(device), attention_mask=None, use_cache=False
        ).last_hidden_state
        last = torch.tensor([len(sequence.ids) - 1 for sequence in sequences], device=device)
        pooled = F.normalize(hidden[torch.arange(len(sequences), device=device), last].float(), dim=-1)
        responses = [s.response if generation else 0 for s in sequences]
        rows = [row for row, length in enumerate(responses) for _ in range(length)]
        columns = [len(s.ids) - n + i for s, n in zip(sequences, responses, strict=True) for i in range(n)]
        row, column = torch.tensor(rows, dtype=torch.long), torch.tensor(columns, dtype=torch.long)
        logits = (
            self.qwen.lm_head(hidden[row, column - 1])
            if rows
            else hidden.new_zeros(0, self.qwen.config.text_config.vocab_size)
        )
        return Encodings(pooled, logits, ids[row, column])

    def _padded(self, sequences: list[Encoded]) -> tuple[Tensor, Tensor]:
        """ids [B, L] and M-RoPE positions [3, B, L]."""
        ids = pad_sequence([torch.tensor(s.ids) for s in sequences], batch_first=True)
        positions = pad_sequence([self._positions(s).T for s in sequences], batch_first=True)
        return ids, positions.permute(2, 0, 1)

    def _positions(self, sequence: Encoded) -> Tensor:
        image = None
        if sequence.image:
            image = ImageSpan(sequence.ids.index(self.routes.image_id), *self.images.grid(sequence.image))
        return prompt_positions(len(sequence.ids), image)

    def _with_images(self, embedded: Tensor, ids: Tensor, sequences: list[Encoded]) -> Tensor:
        paths = [sequence.image for sequence in sequences if sequence.image]
        if not paths:
            return embedded
        tokens = self.images.tokens(self.qwen.model.visual, paths, embedded.dtype)
        return embedded.masked_scatter((ids == self.routes.image_id).unsqueeze(-1), tokens)
