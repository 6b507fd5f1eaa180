"""`solomon index`: collections of a running server."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

import typer

from service.cli import adding, backups, copying, documents, rebuild
from service.cli.options import DEFAULT_URL, AsJson, Url

app = typer.Typer(help="Make collections, add documents to them, list and drop them.", no_args_is_help=True)


app.command("add")(adding.add)
app.command("copy")(copying.copy)
app.command("get")(documents.get)
app.command("remove")(documents.remove)
app.command("rebuild")(rebuild.rebuild)
app.command("backup")(backups.backup)
app.command("restore")(backups.restore)
app.command("verify")(backups.verify)


@app.command("list")
def list_collections(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List collections."""
    from service.cli.client import Client
    from service.cli.output import print_json, print_table

    with Client(url) as client:
        answer = client.call("GET", "/collections")
    if as_json:
        print_json(answer)
        return
    found = answer["collections"]
    columns = {"name": "name", "documents": "count", "dimensions": "dimensions", "index": "index_kind"}
    if any(info["lost"] for info in found):  # to damage, which few ever see
        columns["lost"] = "lost"
    columns["model"] = "model"
    print_table(list(columns), [[info[field] for field in columns.values()] for info in found])


@app.command("show")
def show(
    collection: Annotated[str, typer.Argument(help="The collection.")] = "default",
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show a collection: documents, dimensions, index, recall, the checkpoint of its vectors."""
    from service.cli.client import Client, collection_path
    from service.cli.output import print_json, print_pairs

    with Client(url) as client:
        info = client.call("GET", collection_path(collection))
    if as_json:
        print_json(info)
    else:
        print_pairs(info)


@app.command("create")
def create(
    collection: Annotated[str, typer.Argument(help="The collection to make.")],
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Make an empty collection for the served model's vectors; one that exists is left as it is."""
    from service.cli.client import Client, collection_path
    from service.cli.output import print_json
    from service.client.replies import read_reply

    path = collection_path(collection)
    with Client(url) as client, client.stream("PUT", path) as response:
        response.read()
        made, info = response.status_code == HTTPStatus.CREATED, read_reply(response)
    if as_json:
        print_json(info | {"made": made})
    else:
        state = "is made" if made else f"exists, with {info['count']} documents"
        typer.echo(f"{collection} {state}: {info['dimensions']} dimensions, of {info['model']}.")


@app.command("drop")
def drop(
    collection: Annotated[str, typer.Argument(help="The collection to remove.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Remove a collection and all its documents from the server's disk.

    Its documents are counted in the question only for a key with the scope search.
    """
    from service.cli.client import Client, collection_path
    from service.cli.output import print_json

    path = collection_path(collection)
    with Client(url) as client:
        info = client.call_if_allowed("GET", path)
        count = None if info is None else info["count"]
        if not yes:
            held = "documents" if count is None else f"{count} documents"
            typer.confirm(f"Remove {collection} and its {held} from {url}?", abort=True, err=as_json)
        client.call("DELETE", path)
    if as_json:
        print_json({"removed": collection, "documents": count})
    else:
        typer.echo(f"{collection} is removed.")
