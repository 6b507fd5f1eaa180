"""How well a training query finds its positive: its margin and rank among a fixed set of candidates.

The set is the positive, the row's own hard negatives, and documents drawn from the same dataset. It depends
on the rows and the seed only, so two models, or two routes of one model, are measured on the same.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.types import Embedding, EmbedOptions, Item, RouteChoice, Vector
from training.evaluation import DocumentVectors, as_item
from training.mmeb import TrainingRow
from training.remembered import Embeds
from training.scores import TIE

Content = tuple[str, str]  # a document's text and image path
CANDIDATES = 100


@dataclass(frozen=True, slots=True)
class Standing:
    """A query's margin (cosine of the positive minus the hardest other candidate's) and rank (1 is best)."""

    margin: float
    rank: int


def candidate_sets(
    rows: Sequence[TrainingRow], size: int = CANDIDATES, seed: int = 0, pool: Sequence[TrainingRow] = ()
) -> list[list[Content]]:
    """For each row at most `size` distinct documents, the positive first, then the hard negatives.

    The others are drawn from the documents of `pool` (default: the rows themselves). A document with the
    positive's key, or the positive's own content, is never among them. Raises ValueError when some row
    would have no other document than its positive.
    """
    keys: dict[Content, str] = {}
    for row in pool or rows:
        keys.setdefault((row.pos_text, row.pos_image_path), row.pos_key)
        for negative in row.hard_negatives:
            keys.setdefault((negative.text, negative.image_path), negative.key)
    documents = sorted(keys)
    return [_candidates(number, row, keys, documents, size, seed) for number, row in enumerate(rows)]


def _candidates(
    number: int, row: TrainingRow, keys: dict[Content, str], documents: list[Content], size: int, seed: int
) -> list[Content]:
    positive = (row.pos_text, row.pos_image_path)

    def may_stand(content: Content) -> bool:
        return content != positive and not (row.pos_key and keys.get(content) == row.pos_key)

    chosen = {positive: None}
    for negative in row.hard_negatives[: size - 1]:
        chosen[negative.text, negative.image_path] = None
    # Twice as many as needed are drawn, since some fall out; all of them where that is not enough.
    drawn = random.Random(f"{seed}/{number}").sample(documents, min(2 * size, len(documents)))
    for content in chain(drawn, documents):
        if len(chosen) >= size:
            break
        if may_stand(content):
            chosen[content] = None
    if len(chosen) < 2:
        raise ValueError(f"Row {number} ({row.qry[:60]!r}) has no candidate but its positive; add documents.")
    return list(chosen)


def standing(query: Vector, candidates: npt.NDArray[np.float64]) -> Standing:
    """Where the first of the candidates [N, D] stands for a query [D]; all are of unit length.

    A candidate that ties with the positive counts as before it.
    """
    similarities = candidates @ query.astype(np.float64)
    others = similarities[1:]
    return Standing(
        float(similarities[0] - others.max()), 1 + int(np.count_nonzero(others >= similarities[0] - TIE))
    )


class MarginMeter:
    """Measures queries against their candidates with one engine; documents are embedded once."""

    def __init__(self, engine: Embeds, image_root: Path) -> None:
        self.engine, self.image_root = engine, image_root
        self.documents = DocumentVectors(engine, image_root)

    def items(self, rows: Sequence[TrainingRow]) -> list[Item]:
        """The rows' queries as the engine takes them."""
        return [as_item(row.qry, row.qry_image_path, self.image_root) for row in rows]

    def measure(
        self, items: Sequence[Item], candidates: Sequence[Sequence[Content]], options: EmbedOptions
    ) -> list[tuple[Standing, Embedding]]:
        """Each query's standing under the options, and its embedding (which holds the written answer)."""
        embedded = self.engine.embed(items, options)
        self.documents.matrix(list(dict.fromkeys(chain.from_iterable(candidates))))  # all in few batches
        return [
            (standing(query.vector, self.documents.matrix(found)), query)
            for query, found in zip(embedded, candidates, strict=True)
        ]


def forced(route: RouteChoice, max_augment_tokens: int | None = None) -> EmbedOptions:
    """Options of a query on one route; over-long texts are cut, as in training."""
    return EmbedOptions(route=route, truncate=True, max_augment_tokens=max_augment_tokens)
