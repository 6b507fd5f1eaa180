"""Talks to a running server, and turns its problems into messages and exit codes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NoReturn, Self

import httpx

from service.cli.exits import Exit, fail

API_KEY_VARIABLE = "SOLOMON_API_KEY"
_TIMEOUT_SECONDS = 660.0
_PATIENCE_SECONDS = 600.0
_RETRY_SECONDS = 1.0


class ServerProblem(Exception):
    """The server answered with a problem.

    `status` is the HTTP status, `retry_after` the seconds after which the server asks to be called again.
    """

    def __init__(self, status: int, body: dict[str, Any], retry_after: float | None = None) -> None:
        super().__init__(str(body.get("detail") or f"The server answered {status}."))
        self.status = status
        self.body = body
        self.retry_after = retry_after


class Client:
    """A connection to one server; use it in a `with`."""

    def __init__(self, url: str, transport: httpx.BaseTransport | None = None) -> None:
        key = os.environ.get(API_KEY_VARIABLE)
        self._url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=self._url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(_TIMEOUT_SECONDS, connect=5.0),
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def call(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, waits: bool = False
    ) -> dict[str, Any]:
        """The JSON of an answer, {} where it has none.

        Raises `ServerProblem` for a problem of the request; ends the command where the server cannot be
        reached, is not ready (raised, too, if the caller `waits`) or refuses the key. Thread-safe.
        """
        try:
            response = self._http.request(method, path, json=body)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            fail(
                f"No server answers at {self._url} ({error}). Start one with `solomon serve`.",
                Exit.UNREACHABLE,
            )
        body = _json(response)
        if body is None:
            fail(f"What answers at {self._url} ({response.status_code}) is not Solomon; check --url.")
        if response.is_success:
            return body
        raise self._problem(response, body, waits=waits)

    @contextmanager
    def stream(self, method: str, path: str, **options: Any) -> Iterator[httpx.Response]:
        """An answer that is read as it comes, or to a body that is sent as it is made (`content`).

        Every problem ends the command.
        """
        try:
            with self._http.stream(method, path, **options) as response:
                if not response.is_success:
                    response.read()
                    raise self._problem(response, _json(response) or {})
                yield response
        except ServerProblem as problem:
            fail_with(problem)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            fail(f"The connection to {self._url} broke ({error!r}).", Exit.UNREACHABLE)

    def _problem(
        self, response: httpx.Response, body: dict[str, Any], *, waits: bool = False
    ) -> ServerProblem:
        """The problem that an answer is; ends the command where no caller could do anything about it."""
        problem = ServerProblem(response.status_code, body, _seconds(response.headers.get("retry-after")))
        if problem.status == 401:
            fail(f"{problem} Set {API_KEY_VARIABLE}.", Exit.UNAUTHORISED)
        if problem.body.get("type") == "/problems/missing-scope":
            fail(str(problem), Exit.UNAUTHORISED)
        if problem.status == 503 and not waits:
            fail(str(problem), Exit.UNREACHABLE)
        return problem

    def call_patiently(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """As `call`, but where the server says when to try again, wait as it says.

        Ends the command once the server has been busy or not ready for ten minutes.
        """
        given_up = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return self.call(method, path, body, waits=True)
            except ServerProblem as problem:
                if problem.status not in (429, 503):
                    raise
                if time.monotonic() >= given_up:
                    fail(
                        f"The server stayed busy ({problem}). Run the command again later.", Exit.UNREACHABLE
                    )
                time.sleep(problem.retry_after or _RETRY_SECONDS)

    def call_or_fail(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """As `call`, but a problem ends the command with its detail."""
        try:
            return self.call(method, path, body)
        except ServerProblem as problem:
            fail_with(problem)


def fail_with(problem: ServerProblem) -> NoReturn:
    """End the command with a problem's detail."""
    fail(str(problem), Exit.USAGE if problem.status in (400, 413, 415, 422) else Exit.FAILED)


def _seconds(retry_after: str | None) -> float | None:
    """Seconds of a Retry-After header; its other form, a date, is not one that our server sends."""
    return float(retry_after) if retry_after is not None and retry_after.isdecimal() else None


def _json(response: httpx.Response) -> dict[str, Any] | None:
    """The object that a server of ours answers, {} for an empty answer; None for what is not ours."""
    try:
        body = response.json() if response.content else {}
    except ValueError:
        return None
    return body if isinstance(body, dict) else None
