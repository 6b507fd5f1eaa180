"""How items are to be embedded, as the options of a command say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Asking:
    """The options of `solomon embed`; None leaves it to the server or the checkpoint."""

    input_type: str = "query"
    route: str = "auto"
    augment_threshold: float | None = None
    max_augment_tokens: int | None = None
    instruction: str | None = None
    dimensions: int | None = None
    truncate: bool = False

    def body(self) -> dict[str, Any]:
        """The members of `POST /embed` beside its input."""
        members = {
            "input_type": self.input_type,
            "route": self.route,
            "augment_threshold": self.augment_threshold,
            "max_augment_tokens": self.max_augment_tokens,
            "instruction": self.instruction,
            "dimensions": self.dimensions,
            "truncate": self.truncate or None,
        }
        return {name: value for name, value in members.items() if value is not None}
