"""Checks the caller's API key, its scopes and its rate before anything of the request is read."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service import problems
from service.auth import scopes
from service.auth.keyring import Keyring
from service.auth.scopes import Door, RouteAccess
from service.mapping import retry_after
from service.metrics import Metrics
from service.middleware.access_log import count
from service.problems import Problem
from service.refusals import refusal


def presented_key(headers: Headers) -> str | None:
    """The key in `Authorization: Bearer ...` or `X-API-Key`."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credentials.strip():
        return credentials.strip()
    return headers.get("x-api-key")


class ApiKeyMiddleware:
    """Where keys are needed, a call needs one with its scope, or one of the doors of `auth.scopes`."""

    def __init__(self, app: ASGIApp, keyring: Keyring, access: RouteAccess, metrics: Metrics) -> None:
        self._app = app
        self._keyring = keyring
        self._access = access
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if scope["type"] == "http" and self._keyring.needed:
            problem = self._refusal(scope)
            if problem is not None:
                await refusal(scope, self._metrics, problem)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Problem | None:
        needed = self._access.of(scope)
        if needed in (Door.OPEN, Door.PAGE):
            return None
        presented = presented_key(Headers(scope=scope))
        key = None if presented is None else self._keyring.find(presented)
        if key is None:
            return _unauthenticated(
                "No API key was sent." if presented is None else "The API key is not known."
            )
        count(scope, key=key.name)
        if isinstance(needed, scopes.Scope) and needed not in key.scopes:
            return _missing_scope(needed)
        seconds = self._keyring.take_call(key)
        if seconds > 0:
            detail = "The API key has made as many calls as its rate allows. Call less often."
            return Problem(problems.RATE_LIMITED, detail, headers=retry_after(seconds))
        return None


def _unauthenticated(reason: str) -> Problem:
    return Problem(
        problems.UNAUTHENTICATED,
        f"{reason} Send a valid key as 'Authorization: Bearer <key>' or 'X-API-Key: <key>'.",
        headers={"WWW-Authenticate": "Bearer"},
    )


def _missing_scope(needed: scopes.Scope) -> Problem:
    return Problem(
        problems.MISSING_SCOPE,
        f"This call needs the scope {needed.value!r}, which the API key lacks. Use a key that has it.",
        headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{needed.value}"'},
    )
