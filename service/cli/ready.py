"""`solomon ready`: whether a server takes calls, for scripts."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli.exits import Exit, fail
from service.cli.options import DEFAULT_URL, AsJson, Url

_TIMEOUT_SECONDS = 5.0


def ready(
    live: Annotated[
        bool, typer.Option("--live", help="Ask only whether it lives: one that is starting does.")
    ] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Ask whether a running server takes calls; needs no key.

    Exit code 0 if it does, and 1 for whatever else: it is starting or stopping,
    something else answers, or nothing.
    """
    from service.cli.output import print_json

    wanted = "ok" if live else "ready"
    reason = _why_not(url, "/healthz" if live else "/readyz", wanted)
    if as_json:
        print_json({"url": url, "state": wanted if reason is None else None, "reason": reason})
        if reason is not None:
            raise typer.Exit(int(Exit.FAILED))
    elif reason is not None:
        fail(f"{url}: {reason}")
    else:
        typer.echo(f"{url} is {'alive' if live else 'ready'}.")


def _why_not(url: str, path: str, wanted: str) -> str | None:
    from service.client import ClientError, NotSolomon, Solomon, Unreachable
    from service.client.calls import Call
    from service.client.patience import NONE

    with Solomon(url, patience=NONE, timeout=_TIMEOUT_SECONDS) as server:
        try:
            answer = server.send(Call("GET", path, dict))
        except Unreachable as error:
            return f"nothing answers ({error}). Start one with `solomon serve`, or name another by --url."
        except ClientError as error:
            return str(error)
    return None if answer.get("status") == wanted else str(NotSolomon(200))
