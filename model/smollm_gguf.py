"""Reads SmolLM2's GGUF file: its shape, its weights and its vocabulary, in one go.

transformers reads such files as well, but walks through the vocabulary once for each thing that it wants to
know, which took most of the time of building the base. It remains the reference in the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_MODEL_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
}
_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


@dataclass(frozen=True)
class SmolLM:
    """The original: `config` is a LlamaConfig, `weights` its state dict in float32, by transformers' names.

    `tokens` are in the order of their ids, `control` those of them that are no text, `merges` the pairs of
    tokens that are joined, the first pair first.
    """

    config: Any
    weights: dict[str, Tensor]
    tokens: Sequence[str]
    control: Sequence[str]
    merges: Sequence[tuple[str, str]]


def read_smollm(gguf: Path) -> SmolLM:
    """The model in a GGUF file of a Llama with tied embeddings. Raises ValueError for another."""
    from gguf import GGUFReader, TokenType
    from gguf.quants import dequantize
    from transformers import LlamaConfig

    reader = GGUFReader(gguf)
    fields = {name: field.contents for name, field in reader.fields.items()}
    if fields["general.architecture"]() != "llama":
        raise ValueError(f"{gguf.name} holds a model of another kind: {fields['general.architecture']()}.")
    config = LlamaConfig(**_shape(fields), tie_word_embeddings=True)
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    weights = {}
    for stored in reader.tensors:
        values = dequantize(stored.data, stored.tensor_type)
        kind = stored.name.split(".")[-2]
        if kind in heads:
            values = _halves_apart(values, heads[kind])
        # A copy: what is not quantised lies in the mapped file.
        weights[_transformers_name(stored.name)] = torch.from_numpy(np.array(values, np.float32))
    tokens, kinds = fields["tokenizer.ggml.tokens"](), fields["tokenizer.ggml.token_type"]()
    control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == TokenType.CONTROL]
    pairs = (merge.split(" ") for merge in fields["tokenizer.ggml.merges"]())
    merges = [(left, right) for left, right in pairs]
    return SmolLM(config, weights, tokens, control, merges)


def _shape(fields: dict[str, Callable[[], Any]]) -> dict[str, Any]:
    names = {
        "vocab_size": "vocab_size",
        "hidden_size": "embedding_length",
        "intermediate_size": "feed_forward_length",
        "num_hidden_layers": "block_count",
        "num_attention_heads": "attention.head_count",
        "num_key_value_heads": "attention.head_count_kv",
        "max_position_embeddings": "context_length",
        "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    }
    shape = {ours: fields[f"llama.{theirs}"]() for ours, theirs in names.items()}
    theta = fields["llama.rope.freq_base"]()
    return shape | {"rope_parameters": {"rope_type": "default", "rope_theta": theta}}


def _transformers_name(name: str) -> str:
    if name in _MODEL_NAMES:
        return _MODEL_NAMES[name]
    _, layer, kind, what = name.split(".")
    return f"model.layers.{layer}.{_LAYER_NAMES[kind]}.{what}"


def _halves_apart(weights: npt.NDArray[np.float32], heads: int) -> npt.NDArray[np.float32]:
    """Undo llama.cpp's order of a projection's rows [heads * D, hidden].

    It rotates neighbouring dimensions of a head by the same angle; transformers rotates dimension i and
    i + D/2.
    """
    rows, columns = weights.shape
    return weights.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
