"""How items are to be embedded, as the options of a command say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from service.client.requests import Routing


@dataclass(frozen=True, slots=True)
class Asking:
    """The options of `solomon embed`; None leaves it to the server or the checkpoint."""

    input_type: str = "query"
    routing: Routing = field(default_factory=Routing)
    dimensions: int | None = None
    truncate: bool = False

    def body(self) -> dict[str, Any]:
        """The members of `POST /embed` beside its input."""
        members = {"dimensions": self.dimensions, "truncate": self.truncate or None}
        stated = {name: value for name, value in members.items() if value is not None}
        return {"input_type": self.input_type} | self.routing.body() | stated
