"""Answers only to this machine's own names, where no key keeps strangers out.

A server on a loopback address trusts whoever reaches it, and a web page can make its visitor's browser reach
it: the page's own host name is made to point at 127.0.0.1 after it was loaded (DNS rebinding). The Host
header still carries the page's name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service import problems
from service.auth.scopes import OPEN_PATHS
from service.metrics import Metrics
from service.problems import Problem
from service.refusals import refusal
from service.settings import is_loopback

_NAME_AND_PORT = re.compile(r"(?P<name>\[[^\]]*\]|[^:]*)(:\d*)?")
_SHOWN_CHARACTERS = 253  # the longest host name


def host_name(headers: Headers) -> str:
    """The name in the Host header, in lower case and without its port; "" if there is none."""
    match = _NAME_AND_PORT.fullmatch(headers.get("host", ""))
    return match["name"].lower().rstrip(".") if match is not None else ""


class HostNameMiddleware:
    """Lets calls pass that were addressed to a loopback name or to one of `allowed`, and health."""

    def __init__(self, app: ASGIApp, allowed: Sequence[str], metrics: Metrics) -> None:
        self._app = app
        self._allowed = frozenset(allowed)
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        name = host_name(Headers(scope=scope))
        if is_loopback(name) or name in self._allowed:
            await self._app(scope, receive, send)
            return
        problem = Problem(
            problems.FOREIGN_HOST,
            f"The call was addressed to the host {name[:_SHOWN_CHARACTERS]!r}. Call 127.0.0.1 or localhost, "
            "or let the server answer to that name by SOLOMON_ALLOWED_HOSTS.",
        )
        await refusal(scope, self._metrics, problem)(scope, receive, send)
