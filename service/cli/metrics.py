"""`solomon metrics`: what a running server counts and times."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated

import typer

from service.cli.exits import fail
from service.cli.options import DEFAULT_URL, Url

# "# HELP name ..." and "# TYPE name ...", or a sample: "name{labels} value".
_NAME = re.compile(r"(?:# (?:HELP|TYPE|UNIT) )?([a-zA-Z_:][a-zA-Z0-9_:]*)")
_MEDIA_TYPES = ("text/plain", "application/openmetrics-text")


def metrics(
    prefix: Annotated[
        str | None,
        typer.Argument(help="Only metrics whose names begin so: solomon_rejected.", show_default=False),
    ] = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Print a running server's metrics in Prometheus' text format.

    Exit code 1 if none begins with the prefix.
    """
    from service.cli.client import Client
    from service.client.errors import NotSolomon

    with Client(url) as client, client.stream("GET", "/metrics") as response:
        if not response.headers.get("content-type", "").startswith(_MEDIA_TYPES):
            raise NotSolomon(response.status_code)
        text = response.read().decode()
    shown = text if prefix is None else "".join(_of(prefix, text))
    if not shown:
        fail(f"No metric's name begins with {prefix!r}; without a prefix all of them are printed.")
    typer.echo(shown, nl=False)


def _of(prefix: str, text: str) -> Iterator[str]:
    for line in text.splitlines(keepends=True):
        name = _NAME.match(line)
        if name is not None and name[1].startswith(prefix):
            yield line
