"""Hard negatives from a model's own mistakes: what it ranks high for a query and is not its positive.

The positives of the whole dataset are the corpus. For each query it is ranked by cosine similarity, and the
negatives are taken from a window of ranks: the very top is where unlabelled positives hide, the far end is
easy. Of what is in the window, a document is left out that equals the positive, has its key, or is more
similar to the query than `margin` times the positive is (the positive-aware filter of NV-Retriever, arXiv
2407.15831, whose best value was 0.95).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from training.mmeb import HardNegative, TrainingRow

BLOCK = 512  # queries ranked at once

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class MiningRule:
    """Which negatives are taken: `count` at random from the ranks `first_rank` to `last_rank` (from 1)."""

    count: int = 1
    first_rank: int = 1
    last_rank: int = 50
    margin: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count must be at least 1, not {self.count}.")
        if not 1 <= self.first_rank <= self.last_rank:
            raise ValueError("The rank window must begin at 1 or later and not end before it begins.")
        if not 0 < self.margin <= 1:
            raise ValueError(f"margin must be above 0 and at most 1, not {self.margin}.")


@dataclass(frozen=True, slots=True)
class Mined:
    """The rows with their negatives, and of how many queries the window held none (they keep their own)."""

    rows: list[TrainingRow]
    without: int


def corpus_of(rows: Sequence[TrainingRow]) -> list[HardNegative]:
    """Every distinct positive of the rows with its key, in order of appearance."""
    contents: dict[tuple[str, str], str] = {}
    for row in rows:
        contents.setdefault((row.pos_text, row.pos_image_path), row.pos_key)
    return [HardNegative(text, image, key) for (text, image), key in contents.items()]


def mine_negatives(
    rows: Sequence[TrainingRow],
    queries: Matrix,
    corpus: Sequence[HardNegative],
    documents: Matrix,
    rule: MiningRule,
    progress: Callable[[int], None] = lambda done: None,
) -> Mined:
    """Give each row new negatives, the most similar first.

    queries [R, D] of the rows and documents [C, D] of the corpus, all of unit length. A row for which
    nothing is left after filtering stays as it is.
    """
    mined: list[TrainingRow] = []
    without = 0
    for row, ranked, similarities in _ranked(rows, queries, documents):
        eligible = _eligible(row, corpus, ranked, similarities, rule)
        chosen = _choose(eligible, rule, len(mined))
        without += not chosen
        mined.append(_with_negatives(row, [corpus[number] for number in chosen]) if chosen else row)
        progress(1)
    return Mined(mined, without)


def _ranked(
    rows: Sequence[TrainingRow], queries: Matrix, documents: Matrix
) -> Iterator[tuple[TrainingRow, npt.NDArray[np.int64], Matrix]]:
    """Each row with the corpus in order of similarity (stable), and the similarities by corpus number."""
    for start in range(0, len(rows), BLOCK):
        similarities = queries[start : start + BLOCK] @ documents.T
        for row, values in zip(rows[start : start + BLOCK], similarities, strict=True):
            yield row, np.argsort(-values, kind="stable"), values


def _eligible(
    row: TrainingRow,
    corpus: Sequence[HardNegative],
    ranked: npt.NDArray[np.int64],
    similarities: Matrix,
    rule: MiningRule,
) -> list[int]:
    """Corpus numbers in the window that may be negatives, best rank first. The positive has no rank."""
    positive = (row.pos_text, row.pos_image_path)
    at = next(number for number in ranked if (corpus[number].text, corpus[number].image_path) == positive)
    # Of a positive that points away, the margin is taken downwards too.
    limit = similarities[at] - (1 - rule.margin) * abs(similarities[at])
    others = ranked[ranked != at][rule.first_rank - 1 : rule.last_rank]
    return [
        int(number)
        for number in others
        if similarities[number] <= limit and not (row.pos_key and corpus[number].key == row.pos_key)
    ]


def _choose(eligible: list[int], rule: MiningRule, row: int) -> list[int]:
    """`count` of them, in order of rank; which ones depends on the seed and the row's number alone."""
    count = min(rule.count, len(eligible))
    places = random.Random(f"{rule.seed}/{row}").sample(range(len(eligible)), count)
    return [eligible[place] for place in sorted(places)]


def _with_negatives(row: TrainingRow, negatives: list[HardNegative]) -> TrainingRow:
    first, *more = negatives
    return replace(
        row,
        neg_text=first.text,
        neg_image_path=first.image_path,
        neg_key=first.key,
        more_negatives=tuple(more),
    )
