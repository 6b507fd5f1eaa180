"""One log line and one count a call: path, status, routes, tokens and timings; never content, keys or images.

The one exception is the setting `log_content`, under which routers add texts.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.auth.scopes import RouteAccess
from service.connection import CLIENT_CLOSED_REQUEST
from service.metrics import Metrics

QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
_COUNTS = "solomon.counts"
_log = structlog.get_logger("solomon.access")


def count(scope: Scope, **counts: float | str | Sequence[str | None] | None) -> None:
    """Add numbers or words of a fixed set (a route, not content) to the call's log line."""
    scope.setdefault(_COUNTS, {}).update(counts)


def path_template(scope: Scope, access: RouteAccess) -> str:
    """The template of the path that was called, not the path: ids in paths are content."""
    routed = getattr(scope.get("route"), "path", None)  # what is refused at the door was not routed
    return routed or access.template(scope) or "unmatched"


def peer(scope: Scope) -> str | None:
    """The address at the other end of the connection: the proxy's, where one stands in front."""
    client = scope.get("client")
    return client[0] if client else None


class AccessLogMiddleware:
    """Logs and counts each call when it ends; health and scrapes only in the log and at debug level."""

    def __init__(self, app: ASGIApp, metrics: Metrics, access: RouteAccess) -> None:
        self._app = app
        self._metrics = metrics
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] in QUIET:
            await self._logged(scope, receive, send)
        else:
            with self._metrics.in_flight.track_inprogress():
                await self._logged(scope, receive, send)

    async def _logged(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        status = CLIENT_CLOSED_REQUEST
        counts: dict[str, Any] = scope.setdefault(_COUNTS, {})

        async def send_noting_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_noting_status)
        finally:
            seconds = time.perf_counter() - started
            template = path_template(scope, self._access)
            quiet = scope["path"] in QUIET
            if not quiet:
                self._metrics.on_call(template, status, seconds)
            log = _log.debug if quiet else _log.info
            duration_ms = round(seconds * 1000, 2)
            log(
                "call",
                method=scope["method"],
                path=template,
                status=status,
                duration_ms=duration_ms,
                client=peer(scope),
                **counts,
            )
