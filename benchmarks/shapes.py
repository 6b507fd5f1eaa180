"""What is measured: the shipped solomon-mini, or a Qwen2-VL of a true shape with random weights.

Speed does not depend on what the weights are, so the large shapes need no download: their tokenizer is
trained here, on this repository's own sentences, and their weights are drawn.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2VLConfig, Qwen2VLForConditionalGeneration

from benchmarks.workload import sentences
from model.checkpoint import load_model
from model.engine.settings import EngineSettings
from model.images import ImageFormat
from model.loaded import LoadedModel
from model.prompts import RouteTokens
from service.settings import default_checkpoint

MINI = "mini"
_VISION_SHAPE = {"depth": 32, "embed_dim": 1280, "num_heads": 16, "mlp_ratio": 4}
_ROTARY = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
# The published configurations of Qwen2-VL, and one so small that the benchmarks' own tests are quick.
SHAPES: dict[str, dict[str, Any]] = {
    "qwen2-vl-7b": {
        "text": {
            "vocab_size": 152_064,
            "hidden_size": 3584,
            "intermediate_size": 18_944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "rope_parameters": _ROTARY,
        },
        "vision": _VISION_SHAPE,
        "tied": False,
    },
    "qwen2-vl-2b": {
        "text": {
            "vocab_size": 151_936,
            "hidden_size": 1536,
            "intermediate_size": 8960,
            "num_hidden_layers": 28,
            "num_attention_heads": 12,
            "num_key_value_heads": 2,
            "rope_parameters": _ROTARY,
        },
        "vision": _VISION_SHAPE,
        "tied": True,
    },
    "tiny": {
        "text": {
            "vocab_size": 4096,
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
        },
        "vision": {"depth": 2, "embed_dim": 32, "num_heads": 2, "mlp_ratio": 2},
        "tied": True,
    },
}
_SPECIAL_TOKENS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "/embed",
    "/augment",
]


def load_shape(shape: str, settings: EngineSettings) -> LoadedModel:
    """The model to measure, with weights in the settings' dtype and on their device.

    Raises `ValueError` for a shape that is not known.
    """
    if shape == MINI:
        loaded = load_model(default_checkpoint(), progress=lambda _: None)
    elif shape in SHAPES:
        loaded = _random(shape, settings)
    else:
        raise ValueError(f"The shape must be one of {', '.join([MINI, *SHAPES])}, not {shape!r}.")
    loaded.model.to(settings.torch_device(), settings.torch_dtype())
    return loaded


def trained(shape: str) -> bool:
    """Whether the model's routes and answers mean anything."""
    return shape == MINI


def save_for_server(shape: str, loaded: LoadedModel, folder: Path) -> list[str]:
    """Options of `solomon serve` that serve this model; writes it into `folder` where it is random."""
    if shape == MINI:
        return []
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return ["--model", str(folder)]


def _random(shape: str, settings: EngineSettings) -> LoadedModel:
    tokenizer = _train_tokenizer()
    description = SHAPES[shape]
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in _SPECIAL_TOKENS}
    config = Qwen2VLConfig(
        text_config={
            **description["text"],
            "rms_norm_eps": 1e-6,
            "max_position_embeddings": 32_768,
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={**description["vision"], "hidden_size": description["text"]["hidden_size"]},
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=description["tied"],
    )
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(settings.torch_dtype())
    try:
        with settings.torch_device():
            model = Qwen2VLForConditionalGeneration(config).eval()
    finally:
        torch.set_default_dtype(before)
    model.generation_config.eos_token_id = ids["<|im_end|>"]
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        routes=RouteTokens.from_tokenizer(tokenizer),
        name=shape,
        base=shape,
        revision="random",
        image_format=ImageFormat(square_side=None),
    )


def _train_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE of about a token and a half a word, as real ones have for plain English."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=3000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    core.train_from_iterator(sentences(), trainer)
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in _SPECIAL_TOKENS])
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>")
