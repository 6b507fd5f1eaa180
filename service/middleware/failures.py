"""The last resort: an error that nobody expected becomes a 500 problem and a log line with its trace."""

from __future__ import annotations

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import problems
from service.metrics import Metrics
from service.problems import Problem
from service.refusals import refusal

_log = structlog.get_logger("solomon.failures")


class FailuresMiddleware:
    """Catches what the exception handlers do not know; tells the caller nothing of the inside."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_noting_start(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, send_noting_start)
        except Exception:
            _log.exception("unexpected failure", path_template=getattr(scope.get("route"), "path", None))
            if started:
                self._metrics.on_rejected(problems.INTERNAL.slug)
                raise
            problem = Problem(
                problems.INTERNAL, "The server failed. The log names the cause under this request's id."
            )
            await refusal(scope, self._metrics, problem)(scope, receive, send)
