"""A random two-layer Qwen2-VL with a byte tokenizer: small, quick, and different for every input."""

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)

from model.images import ImageFormat
from model.loaded import LoadedModel
from model.prompts import RouteTokens

SPECIAL_TOKENS = [
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


def build_tokenizer(special_tokens=SPECIAL_TOKENS) -> PreTrainedTokenizerFast:
    """Bytes as tokens, then the special tokens that the prompts need."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = Tokenizer(models.BPE(vocab={symbol: index for index, symbol in enumerate(alphabet)}, merges=[]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special_tokens])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>")


def build_tiny_model(tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> Qwen2VLForConditionalGeneration:
    """A random two-layer Qwen2-VL in float32 whose outputs vary strongly from input to input."""
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": len(tokenizer) + 7,
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [2, 3, 3],
            },
            "bos_token_id": None,
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 64, "num_heads": 2, "mlp_ratio": 2},
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=False,
    )
    torch.manual_seed(seed)
    model = Qwen2VLForConditionalGeneration(config).float().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            vision = "visual" in name
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.12 if vision else 0.3)
            elif "bias" in name:
                parameter.normal_(0.0, 0.3)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
        model.lm_head.weight[ids["<|im_end|>"]] *= 2.0  # answers end now and then, and not at once
    return model


def load_tiny(**changes) -> LoadedModel:
    """The tiny model as a loaded checkpoint."""
    tokenizer = build_tokenizer()
    fields = {
        "model": build_tiny_model(tokenizer),
        "tokenizer": tokenizer,
        "routes": RouteTokens.from_tokenizer(tokenizer),
        "name": "tiny",
        "base": "random",
        "revision": "0",
        "image_format": ImageFormat(square_side=84),
        "max_prompt_tokens": 160,
        "max_augment_tokens": 12,
    }
    return LoadedModel(**{**fields, **changes})
