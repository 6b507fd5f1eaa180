"""What a scenario saw, and which of its targets it missed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Report:
    """One scenario's figures; `missed` says in words what was not as it should be, `late` what took long."""

    scenario: str
    figures: dict[str, Any] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)

    def expect(self, met: bool, target: str) -> None:
        """Note a target that was not met."""
        if not met:
            self.missed.append(target)

    def expect_in_time(self, met: bool, target: str) -> None:
        """Note a target of time that was not met; on a busy machine that says little."""
        if not met:
            self.late.append(target)

    def as_dict(self) -> dict[str, Any]:
        """The report as it is written to disk."""
        return {"scenario": self.scenario, **self.figures, "missed": self.missed, "late": self.late}


def quantile(values: list[float], share: float) -> float:
    """The value below which `share` of the values lie; 0.0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
