"""Turns calls away at the door while the queue is full, before anything of them is looked at.

Under overload most of what a server does is to refuse, and more than half of what that costs is routing,
parsing and checking, on the same cores that the model computes on.
"""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from model.errors import QueueFull
from service.mapping import model_problem
from service.metrics import Metrics
from service.refusals import refusal
from service.runtime import Runtime

_PATHS = frozenset({"/embed", "/v1/embeddings"})  # calls for which the queue is needed, whatever they say
# A body of so many bytes is awaited for so long, for the sake of the connection; of others it is closed.
_AWAITED_BYTES = 64 * 2**10
_AWAITED_SECONDS = 1.0


class FullQueueMiddleware:
    """Stands behind the keys, so that a stranger is told so, and before the body."""

    def __init__(self, app: ASGIApp, runtime: Runtime, metrics: Metrics) -> None:
        self._app = app
        self._runtime = runtime
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        full = self._full() if scope["type"] == "http" and scope["path"] in _PATHS else None
        if full is None or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        problem = model_problem(full)
        answer = refusal(scope, self._metrics, problem)
        # A body that came behind its answer would be taken for the beginning of the next call.
        if not (_is_short(Headers(scope=scope).get("content-length", "")) and await _is_through(receive)):
            answer.headers["Connection"] = "close"
        await answer(scope, receive, send)

    def _full(self) -> QueueFull | None:
        return self._runtime.services.embedding.full() if self._runtime.ready else None


def _is_short(length: str) -> bool:
    return length.isascii() and length.isdigit() and len(length) < 10 and int(length) <= _AWAITED_BYTES


async def _is_through(receive: Receive) -> bool:
    """Let the body pass; whether it ended in time."""
    try:
        async with asyncio.timeout(_AWAITED_SECONDS):
            while (message := await receive())["type"] == "http.request":
                if not message.get("more_body", False):
                    return True
    except TimeoutError:
        pass
    return False
