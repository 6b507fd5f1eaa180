"""A checkpoint in memory: what the engine needs to start."""

from __future__ import annotations

from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase, Qwen2VLForConditionalGeneration

from model.images import ImageFormat
from model.prompts import PromptFormat, RouteTokens


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A Qwen2-VL with its adapter merged, and what the checkpoint says of how to use it.

    `threshold` is the calibrated P(/augment) from which queries are augmented; `max_augment_tokens` the
    default bound of a written answer. The engine copies the text weights into its own layout, so a
    caller that needs the memory may drop this object once the engine is built.
    """

    model: Qwen2VLForConditionalGeneration = field(repr=False)
    tokenizer: PreTrainedTokenizerBase = field(repr=False)
    routes: RouteTokens
    name: str
    base: str
    revision: str
    prompt_format: PromptFormat = field(default_factory=PromptFormat)
    image_format: ImageFormat = field(default_factory=ImageFormat)
    threshold: float = 0.5
    max_prompt_tokens: int = 1024
    max_augment_tokens: int = 32
    pooling: str = "eos"
    checkpoint_sha256: str = ""
