"""Lets clients' connections end in good order before the server stops listening."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.runtime import Runtime


class DrainingMiddleware:
    """While the server drains, every answer says that its connection closes.

    A connection that is kept open would be closed under a client that is just sending its next call.
    """

    def __init__(self, app: ASGIApp, runtime: Runtime) -> None:
        self._app = app
        self._runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""

        async def send_closing(message: Message) -> None:
            if message["type"] == "http.response.start" and self._runtime.draining:
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        await self._app(scope, receive, send_closing if scope["type"] == "http" else send)
