"""Refuses bodies over the limit, without reading the whole of them."""

from __future__ import annotations

import re

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import problems
from service.metrics import Metrics
from service.problem_responses import problem_response
from service.problems import Problem


def body_problem(limit: int) -> Problem:
    """The problem of a body that is larger than `limit` bytes."""
    detail = f"The body is larger than {limit} bytes. Send fewer or smaller items in one call."
    return Problem(problems.BODY_TOO_LARGE, detail)


_BACKUP_PATH = re.compile(r"/collections/[^/]+/backup")


class BodyTooLarge(HTTPException):
    """Raised while a body is read; an HTTPException, because FastAPI lets only those through there."""

    def __init__(self, limit: int) -> None:
        super().__init__(413)
        self.limit = limit


class BodyLimitMiddleware:
    """Goes by Content-Length where there is one, and counts what streams in."""

    def __init__(self, app: ASGIApp, limit: int, backup_limit: int, metrics: Metrics) -> None:
        """Wrap an application; `backup_limit` is for backups that are restored, `limit` for all else."""
        self._app = app
        self._limit = limit
        self._backup_limit = backup_limit
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._backup_limit if _is_restore(scope) else self._limit
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            self._metrics.on_rejected(problems.BODY_TOO_LARGE.slug)
            await problem_response(scope["path"], body_problem(limit))(scope, receive, send)
            return
        received = 0

        async def receive_counting() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > limit:
                    raise BodyTooLarge(limit)
            return message

        await self._app(scope, receive_counting, send)


def _is_restore(scope: Scope) -> bool:
    """Whether a call sends a backup, whose body is streamed to the disk rather than held in memory."""
    return scope["method"] == "PUT" and _BACKUP_PATH.fullmatch(scope["path"]) is not None
