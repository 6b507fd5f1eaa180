"""The joint loss of M-Solomon: L = L_rep + alpha_gen * L_gen (arXiv 2511.02358)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RepresentationLoss(nn.Module):
    """L_rep: InfoNCE over cosine similarities with every document of the batch.

    A query's negatives are its own hard negative, the other queries' positives and their hard negatives;
    documents that equal its positive (by key) are masked out, since they are no negatives at all.
    """

    def __init__(self, temperature: float = 0.03, prefixes: Mapping[int, float] | None = None) -> None:
        """`prefixes`: lengths of vector prefixes and their weights, for Matryoshka embeddings.

        The loss is then the weighted mean over the prefixes, each of unit length by itself (Matryoshka
        Representation Learning, arXiv 2205.13147). Raises ValueError for a temperature that is not positive.
        """
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, not {temperature}")
        self.temperature, self.prefixes = temperature, dict(prefixes or {})

    def forward(self, queries: Tensor, documents: Tensor, target: Tensor, masked: Tensor) -> Tensor:
        """The mean loss, in nats.

        queries [B, D] and documents [N, D] of unit length; target [B], the index of each query's positive;
        masked [B, N], True where a document must not count as a negative (never at the target itself).
        """
        if not self.prefixes:
            return self._info_nce(queries, documents, target, masked)
        total = queries.new_zeros(())
        for length, weight in self.prefixes.items():
            short_queries = F.normalize(queries[:, :length], dim=-1)
            short_documents = F.normalize(documents[:, :length], dim=-1)
            total = total + weight * self._info_nce(short_queries, short_documents, target, masked)
        return total / sum(self.prefixes.values())

    def _info_nce(self, queries: Tensor, documents: Tensor, target: Tensor, masked: Tensor) -> Tensor:
        logits = queries @ documents.T / self.temperature
        return F.cross_entropy(logits.masked_fill(masked, float("-inf")), target)


class GenerationLoss(nn.Module):
    """L_gen: autoregressive cross-entropy on the response tokens, route token and EOS included."""

    def forward(self, logits: Tensor, response: Tensor) -> Tensor:
        """The mean over response tokens, in nats. logits [R, V] before each token of response [R]."""
        return F.cross_entropy(logits.float(), response)


def false_negative_mask(target: Tensor, query_keys: list[str], document_keys: list[str]) -> Tensor:
    """[B, N]: True where a document has the key of the query's positive but is not that positive itself.

    An empty key never equals another.
    """
    numbers = {key: number for number, key in enumerate(dict.fromkeys(k for k in document_keys if k))}
    documents = torch.tensor([numbers.get(key, -1) for key in document_keys], device=target.device)
    queries = torch.tensor([numbers.get(key, -2) if key else -2 for key in query_keys], device=target.device)
    same = queries.unsqueeze(1) == documents.unsqueeze(0)
    return same.scatter(1, target.unsqueeze(1), False)
