"""Caption to caption: two people's descriptions of the same photo, and a mined hard negative."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pyarrow.parquet as pq

from training.mini.splits import Split, split_of
from training.mmeb import EvaluationRow, TrainingRow

INSTRUCTIONS = (
    "Find a caption that describes the same scene.",
    "Find another description of this picture.",
    "Retrieve a sentence with the same meaning.",
    "Find a caption for the same photo:",
    "",
    "",
)
STOP_WORDS = {
    *("a", "an", "the", "and", "is", "are", "his", "her", "their", "it", "its", "while", "as"),
    *("of", "in", "on", "at", "with", "to", "by", "for", "from"),
}
MINING_POOL = 150


def read_captions(source: Path) -> dict[Split, list[list[str]]]:
    """Caption groups (one a photo, two captions or more) by split, decided by content."""
    table = pq.read_table(source, columns=["captions"])
    groups = [group for group in table["captions"].to_pylist() if len(group) >= 2]
    found: dict[Split, list[list[str]]] = {split: [] for split in Split}
    for group in groups:
        found[split_of("\n".join(group))].append(group)
    return found


def caption_rows(groups: list[list[str]], limit: int, seed: int) -> list[TrainingRow]:
    """Training rows; the hard negative shares more words with the positive than a pool of others does."""
    rng = random.Random(seed)
    groups = rng.sample(groups, min(limit, len(groups)))
    words = [_content_words(group[0]) for group in groups]
    rows = []
    for number, group in enumerate(groups):
        query, positive = rng.sample(group, 2)
        wanted = _content_words(positive)
        pool = rng.sample(range(len(groups)), min(MINING_POOL, len(groups)))
        hardest = max(
            (other for other in pool if other != number), key=lambda other: _overlap(wanted, words[other])
        )
        instruction = rng.choice(INSTRUCTIONS)
        rows.append(
            TrainingRow(
                qry=f"{instruction}\n{query}" if instruction else query,
                pos_text=positive,
                neg_text=groups[hardest][0],
                pos_key=f"photo {number}",
                neg_key=f"photo {hardest}",
            )
        )
    return rows


def caption_evaluation(groups: list[list[str]], count: int, seed: int) -> list[EvaluationRow]:
    """Held-out captions, each against one caption of `count` held-out photos, the right one first."""
    chosen = random.Random(seed).sample(groups, min(count, len(groups)))
    targets = [group[1] for group in chosen]
    return [
        EvaluationRow(
            qry_text=f"Find a caption that describes the same scene.\n{group[0]}",
            tgt_text=[targets[number], *targets[:number], *targets[number + 1 :]],
            tgt_img_path=[""] * len(targets),
        )
        for number, group in enumerate(chosen)
    ]


def _content_words(caption: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z]+", caption.lower())) - STOP_WORDS


def _overlap(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / (len(one | other) or 1)
