"""Bare nouns and short phrases, each with another wording: queries that need no augmentation."""

from __future__ import annotations

import json
import random

from training.mini.evaluating import evaluation_row, text_documents
from training.mini.facts import split_of_pair
from training.mini.questions import KNOWLEDGE
from training.mini.splits import Split
from training.mmeb import EvaluationRow, TrainingRow

Pair = tuple[str, str]


def read_phrases() -> list[Pair]:
    """The pairs of `phrases.jsonl`."""
    lines = (KNOWLEDGE / "phrases.jsonl").read_text("utf-8").splitlines()
    return [(pair["text"], pair["paraphrase"]) for pair in map(json.loads, lines)]


def phrase_rows(pairs: list[Pair], seed: int) -> list[TrainingRow]:
    """Both directions of every training pair; the negative is a phrase of another pair."""
    rng = random.Random(seed)
    training = [pair for pair in pairs if split_of_pair(*pair) is Split.TRAINING]
    rows = []
    for pair in training:
        for query, positive in (pair, pair[::-1]):
            other = rng.choice([phrase for another in training if another != pair for phrase in another])
            rows.append(TrainingRow(qry=query, pos_text=positive, neg_text=other))
    return rows


def phrase_evaluation(pairs: list[Pair], split: Split) -> list[EvaluationRow]:
    """Both directions of a split's pairs, against all phrases of that direction."""
    rows = []
    for pair in (pair for pair in pairs if split_of_pair(*pair) is split):
        for side in (0, 1):
            others = text_documents([other[1 - side] for other in pairs if other != pair])
            rows.append(evaluation_row(pair[side], "", (pair[1 - side], ""), others))
    return rows
