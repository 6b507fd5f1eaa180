"""The model in training: a Qwen2-VL with LoRA, trainable route tokens and, where asked for, vision."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn import functional as F

from model.prompts import RouteTokens
from model.rope import ImageSpan, prompt_positions
from training.batches import Encoded
from training.lora_projection import FusedLora
from training.packing import Packing, use_packed_attention
from training.pictures import TrainingImages
from training.recipe import Recipe
from training.route_rows import embed_tokens, token_logits

LORA_TARGETS = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
VISION_LORA_TARGETS = r".*visual\.blocks.*\.(qkv|proj|fc1|fc2)"


class Encodings(NamedTuple):
    """What one forward pass over sequences gives.

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
    config._register_custom_module({nn.Linear: FusedLora})  # not a public name of peft's, but documented
    adapted = get_peft_model(model, config)
    for module in adapted.modules():
        # Autocast chooses the precision; peft's own cast to float32 would only copy every input.
        if isinstance(module, LoraLayer):
            module.cast_input_dtype_enabled = False
    return adapted


class Student(nn.Module):
    """Runs batches of sequences through the adapted model, packed one after the other."""

    def __init__(self, peft_model: Any, routes: RouteTokens, images: TrainingImages) -> None:
        """`images` gives the tokens of the images that the sequences name."""
        super().__init__()
        self.peft_model = peft_model
        self.routes, self.images = routes, images
        use_packed_attention(self.qwen.model.language_model)

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
        """Encode sequences; see `Encodings`. Without `generation` the responses are left out."""
        device = self.device
        packing = Packing.of([len(sequence.ids) for sequence in sequences], device)
        ids = torch.tensor([token for sequence in sequences for token in sequence.ids], device=device)
        positions = torch.cat([self._positions(sequence) for sequence in sequences], dim=1).to(device)
        embedded = embed_tokens(self.qwen.get_input_embeddings(), ids)
        hidden = self.qwen.model.language_model(
            inputs_embeds=self._with_images(embedded, ids, sequences)[None],
            position_ids=positions[:, None],
            attention_mask={"full_attention": packing},
            use_cache=False,
        ).last_hidden_state[0]
        pooled = F.normalize(hidden[packing.last].float(), dim=-1)
        lengths = [sequence.response if generation else 0 for sequence in sequences]
        ends = (packing.last + 1).tolist()
        tokens = [
            token for end, length in zip(ends, lengths, strict=True) for token in range(end - length, end)
        ]
        response = torch.tensor(tokens, dtype=torch.long, device=device)
        logits = (
            token_logits(self.qwen.lm_head, hidden[response - 1])
            if tokens
            else hidden.new_zeros(0, self.qwen.config.text_config.vocab_size)
        )
        return Encodings(pooled, logits, ids[response])

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
