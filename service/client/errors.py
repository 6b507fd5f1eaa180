"""What can go wrong with a call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ClientError(Exception):
    """Base of everything that the client raises."""


class InvalidName(ClientError, ValueError):
    """A collection or document cannot have this name; nothing was sent."""


class ServerProblem(ClientError):
    """The server answered with a problem; the message is its own words.

    `status` is the HTTP status, `body` the problem document ({} where there is none), `retry_after` the
    seconds after which the server asks to be called again.
    """

    def __init__(self, status: int, body: Mapping[str, Any], retry_after: float | None = None) -> None:
        super().__init__(str(body.get("detail") or f"The server answered {status}."))
        self.status = status
        self.body = body
        self.retry_after = retry_after

    @property
    def errors(self) -> list[Mapping[str, Any]]:
        """The fields at fault: `field`, `message` and, where there is one, `mend`."""
        return list(self.body.get("errors") or [])


class NotSolomon(ClientError):
    """What answered is not a Solomon server; `status` is its HTTP status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"What answers ({status}) is not Solomon; check the URL.")
        self.status = status


class Unreachable(ClientError):
    """No answer came. `sent` tells whether the server may have received the call."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent
