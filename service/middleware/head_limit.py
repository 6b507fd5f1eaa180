"""Refuses calls whose address and headers are larger than any honest ones."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from service import problems
from service.metrics import Metrics
from service.problems import Problem
from service.refusals import refusal

MAX_HEAD_BYTES = 32 * 2**10


def head_bytes(scope: Scope) -> int:
    """Bytes of a call's address and headers."""
    address = len(scope.get("raw_path") or scope["path"].encode()) + len(scope.get("query_string", b""))
    return address + sum(len(name) + len(value) for name, value in scope["headers"])


class HeadLimitMiddleware:
    """Stands before everything that looks into headers."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if scope["type"] != "http" or head_bytes(scope) <= MAX_HEAD_BYTES:
            await self._app(scope, receive, send)
            return
        detail = f"The address and the headers are larger than {MAX_HEAD_BYTES} bytes. Shorten them."
        problem = Problem(problems.HEAD_TOO_LARGE, detail, headers={"Connection": "close"})
        await refusal(scope, self._metrics, problem)(scope, receive, send)
