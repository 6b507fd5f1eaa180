"""Talks to a running server, and turns its problems into messages and exit codes."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any, Self

import httpx

from service.cli.exits import Exit, fail

API_KEY_VARIABLE = "SOLOMON_API_KEY"
_TIMEOUT_SECONDS = 660.0


class ServerProblem(Exception):
    """The server answered with a problem; `status` is the HTTP status."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(str(body.get("detail") or f"The server answered {status}."))
        self.status = status
        self.body = body


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

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The JSON of an answer, {} where it has none.

        Raises `ServerProblem` for a problem of the request; ends the command where the server cannot be
        reached, is not ready or refuses the key.
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
        problem = ServerProblem(response.status_code, body)
        if problem.status == 401:
            fail(f"{problem} Set {API_KEY_VARIABLE}.", Exit.UNAUTHORISED)
        if problem.status == 503:
            fail(str(problem), Exit.UNREACHABLE)
        raise problem

    def call_or_fail(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """As `call`, but a problem ends the command with its detail."""
        try:
            return self.call(method, path, body)
        except ServerProblem as problem:
            fail(str(problem), Exit.USAGE if problem.status in (400, 413, 415, 422) else Exit.FAILED)


def _json(response: httpx.Response) -> dict[str, Any] | None:
    """The object that a server of ours answers, {} for an empty answer; None for what is not ours."""
    try:
        body = response.json() if response.content else {}
    except ValueError:
        return None
    return body if isinstance(body, dict) else None
