"""Checks the caller's API key before anything of the request is read."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service import problems
from service.metrics import Metrics
from service.problem_responses import problem_response
from service.problems import Problem

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
# The web page itself tells nothing; it asks its user for a key and sends it with every call.
_PAGE_PATH = "/"
_PAGE_FILES = "/page/"


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def presented_key(headers: Headers) -> str | None:
    """The key in `Authorization: Bearer ...` or `X-API-Key`."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credentials.strip():
        return credentials.strip()
    return headers.get("x-api-key")


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path == _PAGE_PATH or path.startswith(_PAGE_FILES)


class ApiKeyMiddleware:
    """With keys set, lets nothing but health and the bare web page pass without one of them."""

    def __init__(self, app: ASGIApp, keys: Sequence[SecretStr], metrics: Metrics) -> None:
        self._app = app
        self._digests = [_digest(key.get_secret_value()) for key in keys]
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if scope["type"] != "http" or not self._digests or _is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        key = presented_key(Headers(scope=scope))
        if key is not None and self._known(key):
            await self._app(scope, receive, send)
            return
        self._metrics.on_rejected(problems.UNAUTHENTICATED.slug)
        missing = "No API key was sent." if key is None else "The API key is not known."
        problem = Problem(
            problems.UNAUTHENTICATED,
            f"{missing} Send a valid key as 'Authorization: Bearer <key>' or 'X-API-Key: <key>'.",
            headers={"WWW-Authenticate": "Bearer"},
        )
        await problem_response(scope["path"], problem)(scope, receive, send)

    def _known(self, key: str) -> bool:
        digest = _digest(key)
        # Every digest is compared, so that timing tells nothing of which one matched.
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        return any(matches)
