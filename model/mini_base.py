"""Builds the mini base: SmolLM2's text weights grafted into a small Qwen2-VL.

A Llama layer is a Qwen2 layer whose q, k and v biases are zero, so the weights load unchanged. The
embedding matrix gets 64 more rows, of which six are used (route tokens and image tokens), as real
Qwen2-VL checkpoints have more rows than their tokenizers have tokens. What is built holds the text model
alone: `give_eyes` puts in the convolutional tower, whose weights a checkpoint brings.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.conv_tower import CHANNELS, MERGE, PATCH, ConvTower
from model.errors import DownloadError
from model.images import ImageFormat
from model.smollm import GGUF_SHA256, Progress, cache_dir, ensure_gguf
from model.smollm_gguf import SmolLM, read_smollm

NAME = "solomon-mini-base"
BUILD = 2  # raise it when what the builder writes changes
SPARE_ROWS = 64
IMAGE_FORMAT = ImageFormat(square_side=224, patch_size=PATCH)  # four by four tokens

# Each new token starts as the mean of these words' embeddings: deterministic, and near what it means.
NEW_TOKENS = {
    "/embed": " done",
    "/augment": " answer",
    "<|vision_start|>": " picture",
    "<|vision_end|>": ".",
    "<|image_pad|>": " image",
    "<|video_pad|>": " video",
}


def revision() -> str:
    """Identifies the base exactly: the builder's version and the source weights' hash."""
    return f"{BUILD}-{GGUF_SHA256[:12]}"


def mini_base_path(cache: Path | None = None) -> Path:
    """Where the built base lies in the cache, whether or not it is there yet."""
    return (cache or cache_dir()) / f"{NAME}-{revision()}"


def ensure_mini_base(cache: Path | None = None, progress: Progress = print) -> Path:
    """The built base's folder; built (once) from the verified GGUF when it is missing.

    Processes that start together build it once: the others wait. Raises DownloadError when the GGUF
    cannot be had, or when the cache directory cannot be written.
    """
    target = mini_base_path(cache)
    if (target / "complete.json").exists():
        return target
    try:
        with _building_in(target.parent, progress):
            if not (target / "complete.json").exists():
                _build_into(target, ensure_gguf(cache, progress), progress)
    except OSError as error:
        raise DownloadError(
            f"The mini base cannot be built in {target.parent}: {error}. Make room there, or name another "
            "directory in SOLOMON_CACHE_DIR."
        ) from error
    return target


def _build_into(target: Path, gguf: Path, progress: Progress) -> None:
    """Build beside the target, then rename: a folder of that name is whole, or has no completion mark."""
    progress("Building the mini base (once) ...")
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        folder = Path(name) / "base"
        build_mini_base(gguf, folder)
        shutil.rmtree(target, ignore_errors=True)
        folder.replace(target)


@contextmanager
def _building_in(cache: Path, progress: Progress) -> Iterator[None]:
    """Hold the cache directory's lock, waiting for it; the system drops it when a process dies."""
    cache.mkdir(parents=True, exist_ok=True)
    directory = os.open(cache, os.O_RDONLY)
    try:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("Another process is building the mini base; waiting for it ...")
            fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def build_mini_base(gguf: Path, folder: Path) -> None:
    """Write the grafted model, its tokenizer and a completion mark into a folder."""
    from transformers import Qwen2VLForConditionalGeneration
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # of the writing, in the middle of a server's log
    source = read_smollm(gguf)
    tokenizer = build_tokenizer(source)
    config = mini_config(source.config, tokenizer)
    torch.manual_seed(0)
    model = Qwen2VLForConditionalGeneration(config).to(torch.float32)
    graft(source.weights, model, tokenizer)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.to(torch.bfloat16).save_pretrained(folder)
    # safetensors writes for the owner alone; a server often runs as another user.
    (folder / "model.safetensors").chmod(0o644)
    tokenizer.save_pretrained(folder)
    (folder / "complete.json").write_text(json.dumps({"name": NAME, "revision": revision()}))


def build_tokenizer(source: SmolLM) -> Any:
    """SmolLM2's byte-level BPE tokenizer from the GGUF's own vocabulary, with the new tokens added.

    Digits are split one by one, as SmolLM2 was trained; transformers' generic GGUF conversion leaves
    that out.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: number for number, token in enumerate(source.tokens)}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=list(source.merges)))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(token, normalized=False) for token in [*source.control, *NEW_TOKENS]])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",  # noqa: S106 - no password
        pad_token="<|endoftext|>",  # noqa: S106
        model_max_length=8192,
    )


def mini_config(llama: Any, tokenizer: Any) -> Any:
    """A Qwen2-VL configuration of SmolLM2's text shape and our image tokens."""
    from transformers import Qwen2VLConfig

    text = {
        "vocab_size": llama.vocab_size + SPARE_ROWS,
        "hidden_size": llama.hidden_size,
        "intermediate_size": llama.intermediate_size,
        "num_hidden_layers": llama.num_hidden_layers,
        "num_attention_heads": llama.num_attention_heads,
        "num_key_value_heads": llama.num_key_value_heads,
        "max_position_embeddings": llama.max_position_embeddings,
        "rms_norm_eps": llama.rms_norm_eps,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": llama.rope_parameters["rope_theta"],
            "mrope_section": [8, 12, 12],
        },
        "bos_token_id": tokenizer.convert_tokens_to_ids("<|im_start|>"),
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    # Positions of image tokens follow from this; a transformer of no blocks keeps the place of `give_eyes`.
    vision = {
        "depth": 0,
        "embed_dim": CHANNELS // MERGE**2,
        "num_heads": 4,
        "mlp_ratio": 1,
        "hidden_size": llama.hidden_size,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": 2,
    }
    ids = {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>")
        for name, token in (
            ("image", "image_pad"),
            ("video", "video_pad"),
            ("vision_start", "vision_start"),
            ("vision_end", "vision_end"),
        )
    }
    return Qwen2VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **ids)


def give_eyes(model: Any) -> None:
    """Put the convolutional tower, with random weights, in the place of the loaded base's vision tower."""
    torch.manual_seed(0)
    model.model.visual = ConvTower(model.config.text_config.hidden_size)


def graft(llama: dict[str, Tensor], model: Any, tokenizer: Any) -> None:
    """Copy a Llama state dict into a Qwen2-VL's text model; q, k and v biases become zero."""
    target = model.model.language_model.state_dict()
    for name, tensor in target.items():
        if name.endswith("_proj.bias"):
            tensor.zero_()
        elif name == "embed_tokens.weight":
            tensor.copy_(_extended_embeddings(llama["model.embed_tokens.weight"], tensor, tokenizer))
        else:
            tensor.copy_(llama[f"model.{name}"])


def _extended_embeddings(original: Tensor, target: Tensor, tokenizer: Any) -> Tensor:
    extended = torch.zeros_like(target)
    extended[: len(original)] = original
    for token, phrase in NEW_TOKENS.items():
        words = tokenizer(phrase, add_special_tokens=False)["input_ids"]
        extended[tokenizer.convert_tokens_to_ids(token)] = original[words].mean(0)
    return extended
