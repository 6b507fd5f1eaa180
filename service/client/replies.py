"""HTTP answers to JSON, problems and waits."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from service.client.errors import NotSolomon, ServerProblem, Unreachable

# The call never left this machine, or never arrived.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.InvalidURL)


def read_reply(response: httpx.Response) -> dict[str, Any]:
    """The JSON object of an answer that has been read, {} where it has none.

    Raises `ServerProblem`, and `NotSolomon` for what no server of ours sends.
    """
    try:
        body = response.json() if response.content else {}
    except ValueError:
        raise _stranger(response) from None
    if not isinstance(body, dict):
        raise _stranger(response)
    if not response.is_success:
        raise ServerProblem(response.status_code, body, seconds_to_wait(response.headers.get("retry-after")))
    return body


def read_content(response: httpx.Response) -> bytes:
    """The bytes of an answer that has been read. Raises as `read_reply` does where it is none of success."""
    if not response.is_success:
        read_reply(response)
    return response.content


def _stranger(response: httpx.Response) -> NotSolomon | ServerProblem:
    if response.status_code in (429, 502, 503, 504):  # a proxy in front speaks HTML
        return ServerProblem(response.status_code, {}, seconds_to_wait(response.headers.get("retry-after")))
    return NotSolomon(response.status_code)


def seconds_to_wait(retry_after: str | None) -> float | None:
    """Seconds of a Retry-After header, a number or a date; None where it says nothing."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        instant = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return max(0.0, (instant - datetime.now(UTC)).total_seconds())


def unreachable(error: httpx.TransportError | httpx.InvalidURL) -> Unreachable:
    """Why no answer came."""
    return Unreachable(str(error) or type(error).__name__, sent=not isinstance(error, _NOT_SENT))
