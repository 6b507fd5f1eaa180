"""What every teacher gives: an answer for each row, or the reason why there is none, and what it cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from training.mmeb import TrainingRow

Advance = Callable[[int], None]  # told how many more rows are done


@dataclass(frozen=True, slots=True)
class Answer:
    """An augmentation for one row; `text` is empty where there is none, and `problem` says why."""

    text: str = ""
    problem: str = ""


@dataclass(slots=True)
class Cost:
    """What the answers took.

    `queries` are distinct ones; `cached` of them cost nothing now. Tokens are of this run; those of cached
    replies were paid before and are counted apart.
    """

    queries: int = 0
    cached: int = 0
    requests: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_prompt_tokens: int = 0
    cached_completion_tokens: int = 0
    seconds: float = 0.0

    def price(self, prompt_price: float, completion_price: float) -> float:
        """This run's price, given the prices of a million prompt and completion tokens."""
        return (self.prompt_tokens * prompt_price + self.completion_tokens * completion_price) / 1e6


class Teacher(Protocol):
    """Writes augmentations."""

    cost: Cost

    @property
    def facts(self) -> dict[str, Any]:
        """What the written files say of where their augmentations come from; never a secret."""

    def answer(self, dataset: str, rows: Sequence[TrainingRow], advance: Advance) -> list[Answer]:
        """An answer for each row, in order."""
