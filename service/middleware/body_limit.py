"""Bounds what bodies take: bytes of one, bytes of all that are held at once, and the time to send one.

What is refused is not read to its end, so the connection is closed after the answer.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, replace

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import problems
from service.held_bytes import CallBytes, HeldBytes
from service.metrics import Metrics
from service.problems import Problem
from service.refusals import refusal

_BACKUP_PATH = re.compile(r"/collections/[^/]+/backup")


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """`one` bounds a body, `backup` one that is streamed to the disk, `total` what memory holds of all calls.

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
        self._held = HeldBytes(limits.total)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        streamed = _is_restore(scope)
        declared = Headers(scope=scope).get("content-length", "")
        try:
            size = int(declared) if declared.isdecimal() else 0
            self._check_one(size, streamed)
            if not streamed:
                self._held.check(size)
        except Problem as problem:
            problem = _closing(problem)
            await refusal(scope, self._metrics, problem)(scope, receive, send)
            return
        with self._held.during_call() as call:
            await self._app(scope, self._bounded(receive, streamed, call), send)

    def _bounded(self, receive: Receive, streamed: bool, call: CallBytes) -> Receive:
        """A call's `receive` that raises `BodyRefused` where the body goes beyond a bound."""
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
                raise BodyRefused(_closing(self._too_slow())) from None
            if message["type"] == "http.request":
                size = len(message.get("body", b""))
                received += size
                try:
                    self._check_one(received, streamed)
                    if not streamed:
                        call.add(size)
                except Problem as problem:
                    raise BodyRefused(_closing(problem)) from None
                complete = not message.get("more_body", False)
            return message

        return receive_bounded

    def _check_one(self, size: int, streamed: bool) -> None:
        """Raise a `Problem` if a body of `size` bytes is too large."""
        limit = self._limits.backup if streamed else self._limits.one
        if size > limit:
            detail = f"The body is larger than {limit} bytes. Send fewer or smaller items in one call."
            raise Problem(problems.BODY_TOO_LARGE, detail)

    def _too_slow(self) -> Problem:
        detail = f"The body did not arrive within {self._limits.seconds:g} s. Send less in one call."
        return Problem(problems.BODY_TIMEOUT, detail)


def _closing(problem: Problem) -> Problem:
    """The problem, after which the connection is closed: the rest of the body is not read."""
    return replace(problem, headers={**problem.headers, "Connection": "close"})


def _is_restore(scope: Scope) -> bool:
    """Whether a call sends a backup, whose body is streamed to the disk rather than held in memory."""
    return scope["method"] == "PUT" and _BACKUP_PATH.fullmatch(scope["path"]) is not None
