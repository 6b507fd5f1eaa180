"""Gradients of the joint loss over a batch that neither one device nor one forward pass need hold.

GradCache (Gao et al., arXiv 2101.06983): L_rep needs the vectors of the whole batch at once, but its
gradient reaches the parameters only through each vector. So

1. all sequences are encoded chunk by chunk without a graph, and the vectors of all processes are gathered;
2. L_rep over the whole batch gives the gradient at every vector;
3. each chunk is encoded again with its graph, which is run backward from the cached gradients and from the
   chunk's share of L_gen (a mean over tokens, so it needs no other chunk).

Every process computes the same L_rep over the same gathered vectors and takes the gradients at its own, so
the sum of the processes' gradients is exactly the single process's. A batch that fits in one pass keeps the
graph of step 1 and is not encoded again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from training.batches import Batch, Encoded
from training.losses import GenerationLoss, RepresentationLoss
from training.parallel import Processes
from training.recipe import Recipe

if TYPE_CHECKING:
    from training.student import Encodings, Student

_CHUNK_SEEDS = 1_000_000_007  # apart from one another and from every step's own seed


@dataclass(frozen=True, slots=True)
class Chunk:
    """Sequences of one forward pass; its seed makes dropout the same in both of its passes."""

    sequences: list[Encoded]
    seed: int
    generates: bool  # queries: their responses count in L_gen


@dataclass(frozen=True, slots=True)
class StepFigures:
    """Losses of the whole batch, and how sure (CF) and how right its queries' route tokens are.

    `confidence` is the mean probability of the likelier route; both are measured in the training pass.
    """

    l_rep: float
    l_gen: float
    confidence: float
    route_accuracy: float


class JointStep:
    """Leaves the gradients of L_rep + alpha_gen * L_gen on the student's parameters."""

    def __init__(self, student: Student, recipe: Recipe, processes: Processes) -> None:
        self.student, self.processes = student, processes
        self.alpha_gen, self.chunk_size = recipe.alpha_gen, recipe.chunk_size
        self.bfloat16 = recipe.dtype(processes.device) is torch.bfloat16
        self.representation = RepresentationLoss(recipe.temperature, recipe.matryoshka)
        self.generation = GenerationLoss()

    def backward(self, batch: Batch, seed: int) -> StepFigures:
        """Add the batch's gradients, of this process's share where there are several."""
        whole = self._fits(batch)
        chunks = split(batch, None if whole else self.chunk_size, seed)
        with torch.set_grad_enabled(whole):
            encodings = [self._encode(chunk, whole and chunk.generates) for chunk in chunks]
        pooled = torch.cat([encoding.pooled.detach() for encoding in encodings])
        l_rep, gradients = self._representation(pooled, batch)
        tokens = torch.tensor(float(sum(query.response for query in batch.queries)))
        tokens = self.processes.total(tokens.to(pooled.device))
        sums = torch.zeros(4, device=pooled.device)  # L_gen, confidence, right routes, queries
        parts = gradients.split([len(chunk.sequences) for chunk in chunks])
        for number, (chunk, gradient) in enumerate(zip(chunks, parts, strict=True)):
            encoding = encodings[number] if whole else self._encode(chunk, chunk.generates)
            sums += self._backward_chunk(chunk, encoding, gradient, tokens)
        l_gen, confidence, right, queries = self.processes.total(sums).tolist()
        return StepFigures(l_rep, l_gen, confidence / max(queries, 1), right / max(queries, 1))

    def _fits(self, batch: Batch) -> bool:
        """Whether each side is one pass. FSDP's layers take one forward pass before each backward pass."""
        if self.processes.sharded:
            return False
        longest = max(len(batch.queries), len(batch.documents))
        return self.chunk_size is None or longest <= self.chunk_size

    def _encode(self, chunk: Chunk, generation: bool) -> Encodings:
        torch.manual_seed(chunk.seed)
        # A context for each pass: autocast keeps its casts, and those made without a graph have no gradient.
        with torch.autocast(self.processes.device.type, torch.bfloat16, enabled=self.bfloat16):
            encodings: Encodings = self.student(chunk.sequences, generation=generation)
            return encodings

    def _representation(self, pooled: Tensor, batch: Batch) -> tuple[float, Tensor]:
        """L_rep over all processes' vectors, and its gradient at this process's, [queries + documents, D]."""
        count, rank = len(batch.queries), self.processes.rank
        queries = self.processes.gather(pooled[:count]).requires_grad_()
        documents = self.processes.gather(pooled[count:]).requires_grad_()
        distinct = batch.masked.shape[1]  # what follows are repetitions that fill up the last share
        target, masked = batch.target.to(pooled.device), batch.masked.to(pooled.device)
        loss = self.representation(queries, documents[:distinct], target, masked)
        of_queries, of_documents = torch.autograd.grad(loss, [queries, documents])
        share = len(pooled) - count
        own = [of_queries[rank * count : (rank + 1) * count], of_documents[rank * share : (rank + 1) * share]]
        return loss.item(), torch.cat(own)

    def _backward_chunk(self, chunk: Chunk, encoding: Encodings, gradient: Tensor, tokens: Tensor) -> Tensor:
        """Run one chunk backward; returns its share of the figures, [4]."""
        if not len(encoding.response):  # documents, or queries with wrong answers only
            torch.autograd.backward(encoding.pooled, gradient)
            return torch.zeros(4, device=gradient.device)
        share = len(encoding.response) / tokens
        l_gen = self.generation(encoding.response_logits, encoding.response) * share
        torch.autograd.backward([encoding.pooled, self.alpha_gen * l_gen], [gradient, None])
        return torch.cat([l_gen.detach().view(1), self._routing(encoding)])

    def _routing(self, encoding: Encodings) -> Tensor:
        """[3]: sums over the queries of the confidence and of right routes, and their number."""
        routes = self.student.routes
        pair = torch.tensor([routes.embed_id, routes.augment_id], device=encoding.response.device)
        decides = (encoding.response.unsqueeze(1) == pair).any(1)  # no other response token is a route
        logits = encoding.response_logits.detach()[decides][:, pair].float()
        augment = encoding.response[decides] == routes.augment_id
        right = (logits.argmax(1) == augment).sum()
        confidence = logits.softmax(1).amax(1).sum()
        return torch.stack([confidence, right.float(), decides.sum().float()])


def split(batch: Batch, size: int | None, seed: int) -> list[Chunk]:
    """Queries, then documents, in chunks of at most `size` (None: a chunk each)."""
    chunks: list[Chunk] = []
    for sequences, generates in ((batch.queries, True), (batch.documents, False)):
        length = size or len(sequences)
        for start in range(0, len(sequences), length):
            chunk_seed = seed + len(chunks) * _CHUNK_SEEDS
            chunks.append(Chunk(sequences[start : start + length], chunk_seed, generates))
    return chunks
