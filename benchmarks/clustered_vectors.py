"""Synthetic vectors of a stated distribution, made in blocks so that no more than one is held.

A vector is a cluster's centre plus noise, scaled to unit length. Centres are standard normal; there is one
for every 250 vectors, and cluster sizes follow Zipf's law with exponent 0.5 (the largest of 4,000 clusters
has about 30 times the mean). Noise has a power-law spectrum, its standard deviation in dimension j being
proportional to (1 + j)^-0.5, with 0.8 times a centre's length: neighbours within a cluster differ in few
directions, as they do in embeddings, and clusters overlap at their rims. Queries are near-duplicates:
stored vectors with isotropic noise of a tenth of their length.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]

VECTORS_PER_CLUSTER = 250
ZIPF = 0.5
NOISE = 0.8
QUERY_NOISE = 0.1
BLOCK = 10_000


@dataclass(frozen=True)
class ClusteredVectors:
    """`count` vectors of `dimensions`, the same for the same seed."""

    count: int
    dimensions: int
    seed: int = 0

    def blocks(self) -> Iterator[Vectors]:
        """All vectors, at most `BLOCK` at a time."""
        for number in range(0, -(-self.count // BLOCK)):
            yield self.block(number)

    def block(self, number: int) -> Vectors:
        """The vectors from position `number * BLOCK`."""
        rng = np.random.default_rng([self.seed, 1, number])
        size = min(BLOCK, self.count - number * BLOCK)
        centres = self._centres()
        weights = np.arange(1, len(centres) + 1) ** -ZIPF
        chosen = rng.choice(len(centres), size=size, p=weights / weights.sum())
        spectrum = np.arange(1, self.dimensions + 1) ** -0.5
        spectrum *= NOISE * np.sqrt(self.dimensions) / np.linalg.norm(spectrum)
        noise = rng.standard_normal((size, self.dimensions), dtype=np.float32) * spectrum.astype(np.float32)
        return _unit(centres[chosen] + noise)

    def queries(self, count: int) -> Vectors:
        """Near-duplicates of stored vectors, from blocks throughout."""
        rng = np.random.default_rng([self.seed, 2])
        last = (self.count - 1) // BLOCK
        parts = []
        for number in np.linspace(0, last, min(count, last + 1, 20)).astype(int).tolist():
            parts.append(rng.permutation(self.block(number)))
        stored = np.concatenate([part[: -(-count // len(parts))] for part in parts])[:count]
        noise = rng.standard_normal(stored.shape, dtype=np.float32)
        return _unit(stored + QUERY_NOISE * noise / np.sqrt(self.dimensions, dtype=np.float32))

    def _centres(self) -> Vectors:
        rng = np.random.default_rng([self.seed, 0])
        clusters = max(16, self.count // VECTORS_PER_CLUSTER)
        return rng.standard_normal((clusters, self.dimensions), dtype=np.float32)


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / lengths, np.float32)
