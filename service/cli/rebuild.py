"""`solomon index rebuild`."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from service.cli.exits import Exit, fail
from service.cli.options import DEFAULT_URL, AsJson, Url

_POLL_SECONDS = 0.5


def rebuild(
    collection: Annotated[str, typer.Argument(help="The collection.")],
    drop_failed: Annotated[
        bool, typer.Option("--drop-failed", help="Lose documents that cannot be embedded, rather than fail.")
    ] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop a rebuild; the next one goes on there.")] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Only show how far the latest rebuild is; begin none.")
    ] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Embed a collection's documents again, with the checkpoint that is served.

    The server does it, behind every query, and replaces the collection at the
    end; until then it takes no writes. Interrupting this command does not stop
    it: run the command again to watch, or with --stop to stop it. A rebuild
    that was stopped goes on where it was. Exit code 1 if it failed, or was
    stopped by somebody else.
    """
    from service.cli.client import Client, collection_path
    from service.cli.output import print_json

    if stop + status + drop_failed > 1:
        fail("Give one of --drop-failed, --stop and --status.", Exit.USAGE)
    path = f"{collection_path(collection)}/rebuild"
    with Client(url) as client:
        if stop:
            state = client.call("DELETE", path)
        elif status:
            state = client.call("GET", path)
        else:
            client.call("POST", path, {"drop_failed": drop_failed})
            state = _watch(client, path, collection, quiet=as_json)
    if as_json:
        print_json(state)
    else:
        _show(state)
    if state["state"] == "failed" or (state["state"] == "stopped" and not stop):
        raise typer.Exit(int(Exit.FAILED))


def _watch(client: Any, path: str, collection: str, *, quiet: bool) -> dict[str, Any]:
    from service.cli.progress import job_progress

    with job_progress(quiet=quiet) as progress:
        task = progress.add_task(f"Rebuilding {collection}", total=None)
        while True:
            state: dict[str, Any] = client.call("GET", path)
            progress.update(task, total=state["total"], completed=state["done"] + state["failed"])
            if state["state"] != "running":
                return state
            time.sleep(_POLL_SECONDS)


def _show(state: dict[str, Any]) -> None:
    for item in state["failures"]:
        typer.echo(f"{item['id']}: {item['reason']}", err=True)
    if state["reason"]:
        typer.echo(state["reason"], err=True)
    typer.echo(
        f"{state['collection']}: {state['state']}, {state['done']} of {state['total']} documents embedded by "
        f"{state['model']} ({state['resumed']} of them earlier), {state['failed']} failed."
    )
