"""Bounds what bodies take: bytes of one, bytes of all that are held at once, and the time to send one.

What is refused is not read to its end, so the connection is closed after the answer.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import problems
from service.mapping import retry_after
from service.metrics import Metrics
from service.problem_responses import problem_response
from service.problems import Problem

_BACKUP_PATH = re.compile(r"/collections/[^/]+/backup")
_CLOSE: Mapping[str, str] = {"Connection": "close"}
_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """`one` bounds a body, `backup` one that is streamed to the disk, `total` all that memory holds.

    A body has `seconds` to arrive; a backup has them for each of its parts.
    """

    one: int
    backup: int
    total: int
    seconds: float


class BodyRefused(HTTPException):
    """Raised while a body is read; an HTTPException, because FastAPI lets only those through there."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.kind.status)
        self.problem = problem


class BodyLimitMiddleware:
    """Goes by Content-Length where there is one, and counts what streams in."""

    def __init__(self, app: ASGIApp, limits: BodyLimits, metrics: Metrics) -> None:
        self._app = app
        self._limits = limits
        self._metrics = metrics
        self._held = 0  # bytes of the bodies of all calls that have not ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        streamed = _is_restore(scope)
        declared = Headers(scope=scope).get("content-length", "")
        try:
            self._check(int(declared) if declared.isdecimal() else 0, streamed)
        except BodyRefused as refused:
            self._metrics.on_rejected(refused.problem.kind.slug)
            await problem_response(scope["path"], refused.problem)(scope, receive, send)
            return
        received = 0
        complete = False
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._limits.seconds

        async def receive_bounded() -> Message:
            nonlocal received, complete
            if complete:
                return await receive()  # waits for the end of the connection, however long that takes
            try:
                async with asyncio.timeout_at(loop.time() + self._limits.seconds if streamed else ends):
                    message = await receive()
            except TimeoutError:
                raise BodyRefused(self._too_slow()) from None
            if message["type"] == "http.request":
                size = len(message.get("body", b""))
                self._check(size, streamed, received)
                received += size
                if not streamed:
                    self._held += size
                complete = not message.get("more_body", False)
            return message

        try:
            await self._app(scope, receive_bounded, send)
        finally:
            if not streamed:
                self._held -= received

    def _check(self, size: int, streamed: bool, received: int = 0) -> None:
        """Raise `BodyRefused` unless `size` more bytes fit a body of which some are `received`."""
        limit = self._limits.backup if streamed else self._limits.one
        if received + size > limit:
            detail = f"The body is larger than {limit} bytes. Send fewer or smaller items in one call."
            raise BodyRefused(Problem(problems.BODY_TOO_LARGE, detail, headers=_CLOSE))
        if not streamed and self._held + size > self._limits.total:
            detail = "The server holds as many bytes of other calls' bodies as it may. Send it again later."
            headers = {**retry_after(_RETRY_SECONDS), **_CLOSE}
            raise BodyRefused(Problem(problems.BODIES_FULL, detail, headers=headers))

    def _too_slow(self) -> Problem:
        detail = f"The body did not arrive within {self._limits.seconds:g} s. Send less in one call."
        return Problem(problems.BODY_TIMEOUT, detail, headers=_CLOSE)


def _is_restore(scope: Scope) -> bool:
    """Whether a call sends a backup, whose body is streamed to the disk rather than held in memory."""
    return scope["method"] == "PUT" and _BACKUP_PATH.fullmatch(scope["path"]) is not None
