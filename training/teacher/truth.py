"""The teacher that needs no model: the answers that the data has."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from training.mmeb import TrainingRow
from training.teacher.answers import Advance, Answer, Cost


def ground_truth(row: TrainingRow, positive_is_answer: bool) -> str:
    """The answer that the data has: the row's own, or its positive's text where that is the answer."""
    return row.augmentation or (row.pos_text if positive_is_answer and not row.pos_image_path else "")


def bare_answer(row: TrainingRow, positive_is_answer: bool) -> str:
    """What a teacher's answer is compared with: of "kangaroo: joey", whose positive is "joey", the positive.

    What is seen before the answer may be said in other words, or not at all.
    """
    truth = ground_truth(row, positive_is_answer)
    return row.pos_text if row.pos_text and truth.endswith(f": {row.pos_text}") else truth


class GroundTruthTeacher:
    """Takes the answers that the data has; implements `Teacher`."""

    def __init__(self, positive_is_answer: Collection[str]) -> None:
        """`positive_is_answer` names datasets whose positives are answers (VQA, classification)."""
        self.positive_is_answer = frozenset(positive_is_answer)
        self.cost = Cost()

    @property
    def facts(self) -> dict[str, Any]:
        """Which datasets' positives were taken as answers."""
        return {"teacher": "ground-truth", "positive_is_answer": sorted(self.positive_is_answer)}

    def answer(self, dataset: str, rows: Sequence[TrainingRow], advance: Advance) -> list[Answer]:
        """The rows' own answers."""
        found = [ground_truth(row, dataset in self.positive_is_answer) for row in rows]
        self.cost.queries += len(rows)
        advance(len(rows))
        return [Answer(text, "" if text else "the data has no answer") for text in found]
