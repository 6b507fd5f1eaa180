"""The client as commands use it: errors of a call become messages and exit codes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NoReturn, Self
from urllib.parse import urlsplit

import httpx
import typer

from service.cli.exits import Exit, fail
from service.client import paths
from service.client.calls import Call
from service.client.configuration import API_KEY_VARIABLE
from service.client.errors import ClientError, InvalidName, NotSolomon, ServerProblem, Unreachable
from service.client.patience import NONE, Patience
from service.client.synchronous import Solomon

_MISSING_SCOPE = "/problems/missing-scope"
_PATIENCE_SECONDS = 600.0  # for bulk work, which a busy server turns away and a restart interrupts
_REMINDER_SECONDS = 60.0


def _is_address(url: str) -> bool:
    try:
        address = urlsplit(url)
        return address.scheme in ("http", "https") and bool(address.hostname) and address.port != 0
    except ValueError:  # half an IPv6 address, or a port that is no number
        return False


def collection_path(name: str) -> str:
    """Where a collection is. What is no name ends the command."""
    return _path(paths.collection_path, name)


def document_path(collection: str, document_id: str) -> str:
    """Where a document is. What is no name or id ends the command."""
    return _path(paths.document_path, collection, document_id)


def _path(made_of: Callable[..., str], *names: str) -> str:
    try:
        return made_of(*names)
    except InvalidName as error:
        fail(str(error), Exit.USAGE)


class Client:
    """A connection to one server; use it in a `with`. A call whose answer is awaited is made once."""

    def __init__(self, url: str, transport: httpx.BaseTransport | None = None) -> None:
        if not _is_address(url):
            fail(f"{url!r} is no server's address; write --url http://HOST:PORT.", Exit.USAGE)
        self._url = url
        self._told = -math.inf  # when an outage was last told
        patience = Patience(_PATIENCE_SECONDS, first=1.0, most=1.0, tell=self._tell)
        self.server = Solomon(url, patience=patience, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.close()

    def _tell(self, error: ServerProblem | Unreachable) -> None:
        """Say that a server is gone, and that it is waited for; a busy one is the ordinary course."""
        now = time.monotonic()
        busy = isinstance(error, ServerProblem) and error.status == 429
        if busy or now - self._told < _REMINDER_SECONDS:
            return
        self._told = now
        what = "is not ready" if isinstance(error, ServerProblem) else "does not answer"
        minutes = f"{_PATIENCE_SECONDS / 60:.0f} minutes"
        typer.echo(f"solomon: {self._url} {what} ({error}); trying again for up to {minutes}.", err=True)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The JSON of an answer, {} where it has none. Every problem ends the command."""
        with self.failing():
            return self.server.send(Call(method, path, dict, body), NONE)

    def call_if_allowed(self, method: str, path: str) -> dict[str, Any] | None:
        """As `call`; None where the key lacks the scope for it, and the command can do without."""
        with self.failing():
            try:
                return self.server.send(Call(method, path, dict), NONE)
            except ServerProblem as problem:
                if problem.body.get("type") != _MISSING_SCOPE:
                    raise
                return None

    @contextmanager
    def stream(self, method: str, path: str, **options: Any) -> Iterator[httpx.Response]:
        """An answer that is read as it comes, or to a body that is sent as it is made (`content`).

        Every problem ends the command.
        """
        with self.failing(), self.server.open(method, path, **options) as response:
            yield response

    @contextmanager
    def failing(self) -> Iterator[None]:
        """What goes wrong with calls in here ends the command."""
        try:
            yield
        except ClientError as error:
            self._end(error)

    def _end(self, error: ClientError) -> NoReturn:
        match error:
            case Unreachable(sent=True):
                fail(f"The connection to {self._url} broke ({error}).", Exit.UNREACHABLE)
            case Unreachable():
                reason = f"No server answers at {self._url} ({error}). Start one with `solomon serve`."
                fail(reason, Exit.UNREACHABLE)
            case NotSolomon():
                fail(f"What answers at {self._url} ({error.status}) is not Solomon; check --url.")
            case ServerProblem(status=401):
                fail(f"{error} Set {API_KEY_VARIABLE}.", Exit.UNAUTHORISED)
            case ServerProblem() if error.body.get("type") == _MISSING_SCOPE:
                fail(str(error), Exit.UNAUTHORISED)
            case ServerProblem(status=429 | 502 | 503):
                fail(f"{error} Run the command again later.", Exit.UNREACHABLE)
            case ServerProblem(status=400 | 413 | 415 | 422):
                fail(str(error), Exit.USAGE)
            case _:
                fail(str(error))
