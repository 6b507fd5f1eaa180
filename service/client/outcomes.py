"""What became of documents that were to be added."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Failure:
    """A document that could not be added: where it came from, and why."""

    source: str
    reason: str


@dataclass(slots=True)
class Outcome:
    """Documents added, those that the collection held with the same content, and those that failed."""

    added: int = 0
    unchanged: int = 0
    failures: list[Failure] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many documents these are."""
        return self.added + self.unchanged + len(self.failures)

    @classmethod
    def sum(cls, parts: Iterable[Outcome]) -> Outcome:
        """All of them together."""
        whole = cls()
        for part in parts:
            whole.added += part.added
            whole.unchanged += part.unchanged
            whole.failures += part.failures
        return whole
