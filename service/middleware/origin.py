"""Keeps web pages of elsewhere from changing anything on a server that asks for no key.

A page cannot read what such a server answers (there is no CORS header), but a browser sends its plain calls
all the same, and some of ours change things without a body. With keys this cannot happen: no page can make a
browser send one.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service import problems
from service.metrics import Metrics
from service.problems import Problem
from service.refusals import refusal

_HARMLESS = frozenset({"GET", "HEAD", "OPTIONS"})


def is_foreign(headers: Headers, allowed: Sequence[str]) -> bool:
    """Whether a browser says that a page of another origin makes this call."""
    origin = headers.get("origin")
    if origin in allowed:
        return False
    site = headers.get("sec-fetch-site")  # sent over https and to loopback; knows nothing of proxies' names
    if site is not None:
        return site not in ("same-origin", "none")
    if origin is None:
        return False
    try:
        return urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
    except ValueError:
        return True


class OriginMiddleware:
    """Refuses what would change something and comes from a page of neither this server nor `allowed`."""

    def __init__(self, app: ASGIApp, allowed: Sequence[str], metrics: Metrics) -> None:
        self._app = app
        self._allowed = tuple(allowed)
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        harmless = scope["type"] != "http" or scope["method"] in _HARMLESS
        if harmless or not is_foreign(Headers(scope=scope), self._allowed):
            await self._app(scope, receive, send)
            return
        problem = Problem(
            problems.FOREIGN_ORIGIN,
            "A page of another origin made this call. Set SOLOMON_API_KEYS and SOLOMON_CORS_ORIGINS to serve "
            "other pages.",
        )
        await refusal(scope, self._metrics, problem)(scope, receive, send)
