"""The tiny random Qwen2-VL as a base model's folder, as a hub would deliver one."""

from pathlib import Path

from tests.model.tiny import SPECIAL_TOKENS, build_tiny_model, build_tokenizer


def save_tiny_base(folder: Path, tied: bool = True, special_tokens: list[str] = SPECIAL_TOKENS) -> Path:
    """Write the model (its embeddings tied or not) and its tokenizer; returns the folder."""
    model = build_tiny_model(build_tokenizer())
    if tied:
        model.config.tie_word_embeddings = True
        model.tie_weights()
    model.save_pretrained(folder)
    build_tokenizer(special_tokens).save_pretrained(folder)
    return folder
