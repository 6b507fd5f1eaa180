"""`solomon key`."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli.exits import Exit, fail
from service.cli.options import AsJson

app = typer.Typer(help="Make API keys.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `new` a command of its own, although it is the only one."""


@app.command("new")
def new(
    scopes: Annotated[
        str, typer.Option(help="What the key may do: embed, search, write, admin, metrics; or all.")
    ],
    rate: Annotated[
        str | None, typer.Option(help="Most calls, such as 600/minute; else no limit.", show_default=False)
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="How logs call it; else by its hash.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key: show it once, and the line that lets a server know it.

    The line holds only the key's hash. It goes into the file of
    SOLOMON_API_KEYS_FILE, which a running server reads again when it changes,
    or into SOLOMON_API_KEYS.
    """
    from service.auth.keys import new_key, parse_scopes
    from service.cli.output import print_json

    try:
        key, line = new_key(parse_scopes(scopes), rate, name)
    except ValueError as error:
        fail(str(error), Exit.USAGE)
    if as_json:
        print_json({"key": key, "line": line})
        return
    typer.echo("The key, which cannot be shown again:", err=True)
    typer.echo(key)
    typer.echo("Its line for the server:", err=True)
    typer.echo(line)
