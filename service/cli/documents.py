"""`solomon index get` and `remove`: single documents of a running server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli.exits import Exit, fail
from service.cli.options import DEFAULT_URL, AsJson, Collection, Url

DocumentId = Annotated[str, typer.Argument(metavar="ID", help="The document's id.")]


def get(
    document_id: DocumentId,
    collection: Collection = "default",
    image: Annotated[
        Path | None, typer.Option(help="A file to write the document's image to.", dir_okay=False)
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show a document, and write its image to a file with --image."""
    from service.cli.client import Client, document_path
    from service.cli.output import print_json, print_pairs

    path = document_path(collection, document_id)
    with Client(url) as client:
        document = client.call("GET", path)
        if image is not None:
            if document["image_url"] is None:
                fail(f"{document_id} has no image; leave out --image.")
            with client.stream("GET", f"{path}/image") as response:
                _write(image, response.read())
    if as_json:
        print_json(document)
    else:
        print_pairs(document)


def remove(
    document_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="The documents' ids.")],
    collection: Collection = "default",
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Remove documents from a collection; what is removed is gone from disk and from search."""
    from service.cli.client import Client, document_path
    from service.cli.output import print_json

    paths = [document_path(collection, name) for name in document_ids]  # of all, before anything is removed
    with Client(url) as client:
        for document_id, path in zip(document_ids, paths, strict=True):
            client.call("DELETE", path)
            if not as_json:
                typer.echo(f"{document_id} is removed.")
    if as_json:
        print_json({"collection": collection, "removed": document_ids})


def _write(file: Path, data: bytes) -> None:
    try:
        file.write_bytes(data)
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror or error}.", Exit.USAGE)
