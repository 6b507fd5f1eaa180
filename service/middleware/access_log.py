"""One log line a call: route, status, counts and timings; never content, keys or images."""

from __future__ import annotations

import time
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_COUNTS = "solomon.counts"
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
_log = structlog.get_logger("solomon.access")


def count(scope: Scope, **counts: float | str) -> None:
    """Add numbers or words of a fixed set (a route, not content) to the call's log line."""
    scope.setdefault(_COUNTS, {}).update(counts)


class AccessLogMiddleware:
    """Logs each call when it ends; health and scrapes only at debug level."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0
        counts: dict[str, Any] = scope.setdefault(_COUNTS, {})

        async def send_noting_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_noting_status)
        finally:
            log = _log.debug if scope["path"] in _QUIET else _log.info
            # The template, not the path: ids in paths are content.
            template = getattr(scope.get("route"), "path", None) or "unmatched"
            duration_ms = round((time.perf_counter() - started) * 1000, 2)
            log(
                "call",
                method=scope["method"],
                route=template,
                status=status,
                duration_ms=duration_ms,
                **counts,
            )
