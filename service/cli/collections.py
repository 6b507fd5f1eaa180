"""`solomon index`: collections of a running server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from service.cli.exits import Exit, fail
from service.cli.options import DEFAULT_URL, AsJson, Collection, Url

app = typer.Typer(help="Add documents to collections, list and drop them.", no_args_is_help=True)


@app.command("add")
def add(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help='Image files, folders of them, or JSONL files with lines {"id"?, "text"?, "image"? (path), '
            '"metadata"?}.'
        ),
    ],
    collection: Collection = "default",
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Add images and JSONL documents; the collection is made if it is missing.

    Bad items are skipped and listed at the end, and the exit code is then 1.
    An item's id is its file's path as given (absolute where that holds ".."),
    or "id" in JSONL. Adding it again replaces it, so an interrupted command
    can simply be run again; a JSONL line without an id becomes a new document
    each time.
    """
    from service.cli.client import Client
    from service.cli.corpus import read_corpus
    from service.cli.output import print_json
    from service.cli.uploading import upload

    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        fail(f"There is no {', '.join(missing)}.", Exit.USAGE)
    with Client(url) as client:
        client.call_or_fail("PUT", f"/collections/{quote(collection, safe='')}")
        outcome = upload(client, collection, read_corpus(paths), quiet=as_json)
    if as_json:
        failures = [{"source": item.source, "reason": item.reason} for item in outcome.failures]
        print_json({"collection": collection, "added": outcome.added, "failures": failures})
    else:
        for item in outcome.failures:
            typer.echo(f"{item.source} {item.reason}", err=True)
        typer.echo(f"{outcome.added} added to {collection}, {len(outcome.failures)} failed.")
    if outcome.failures:
        raise typer.Exit(int(Exit.FAILED))


@app.command("list")
def list_collections(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List collections."""
    from service.cli.client import Client
    from service.cli.output import print_json, print_table

    with Client(url) as client:
        answer = client.call_or_fail("GET", "/collections")
    if as_json:
        print_json(answer)
        return
    rows = [
        (info["name"], info["count"], info["dimensions"], info["index_kind"], info["model"])
        for info in answer["collections"]
    ]
    print_table(("name", "documents", "dimensions", "index", "model"), rows)


@app.command("drop")
def drop(
    collection: Annotated[str, typer.Argument(help="The collection to remove.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Remove a collection and all its documents from the server's disk."""
    from service.cli.client import Client

    if not yes:
        typer.confirm(f"Remove {collection} and all its documents from {url}?", abort=True)
    with Client(url) as client:
        client.call_or_fail("DELETE", f"/collections/{quote(collection, safe='')}")
    typer.echo(f"{collection} is removed.")
