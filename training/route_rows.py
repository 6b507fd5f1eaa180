"""Word vectors and token logits of a model whose route tokens alone learn, without a copy of the matrix.

peft's TrainableTokens puts the learnt rows into a copy of the whole embedding matrix, forward and backward,
in each pass, for two rows of 49,216. Here the rows are put into the results instead.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def embed_tokens(embeddings: Any, ids: Tensor) -> Tensor:
    """[..., H] word vectors of token ids [...]; `embeddings` is a module that peft has wrapped."""
    layer = embeddings.token_adapter
    vectors = F.embedding(ids, layer.get_base_layer().weight)
    indices, rows = _learnt(layer)
    for index, row in zip(indices, rows.to(vectors.dtype), strict=True):
        vectors = torch.where((ids == index).unsqueeze(-1), row, vectors)
    return vectors


def token_logits(head: Any, hidden: Tensor) -> Tensor:
    """[R, V] logits of hidden states [R, H]; `head` is a module that peft has wrapped."""
    layer = head.token_adapter
    weight = layer.get_base_layer().weight
    indices, rows = _learnt(layer)
    logits = F.linear(hidden, weight)
    columns = torch.tensor(indices, device=logits.device)
    return logits.index_copy(1, columns, F.linear(hidden, rows.to(weight.dtype)))


def _learnt(layer: Any) -> tuple[list[int], Tensor]:
    """The learnt tokens' ids and their rows [T, H]."""
    (adapter,) = layer.active_adapters
    return layer.token_indices[adapter], layer.trainable_tokens_delta[adapter]
