"""Tells browsers to load nothing from elsewhere and to guess no types."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_COMMON = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_LOCKED = "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; object-src 'none'"
_POLICY = f"default-src 'self'; img-src 'self' data: blob:; {_LOCKED}"
# Swagger UI sets inline styles.
_DOCS_POLICY = f"default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; {_LOCKED}"


class SecurityHeadersMiddleware:
    """Adds the headers to every answer, errors included."""

    def __init__(self, app: ASGIApp, docs_path: str) -> None:
        self._app = app
        self._docs_path = docs_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        policy = _DOCS_POLICY if scope["path"].startswith(self._docs_path) else _POLICY

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_COMMON)
                headers.setdefault("Content-Security-Policy", policy)
            await send(message)

        await self._app(scope, receive, send_with_headers)
