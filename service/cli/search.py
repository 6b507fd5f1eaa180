"""`solomon search`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.exits import Exit, fail
from service.cli.options import (
    DEFAULT_URL,
    AsJson,
    Collection,
    ImageOption,
    MaxAugmentTokens,
    Pictures,
    RouteOption,
    Threshold,
    Url,
)


def search(
    text: Annotated[
        str | None, typer.Argument(help="The query; may be left out with --image or --vector.")
    ] = None,
    image: ImageOption = None,
    vector: Annotated[
        Path | None,
        typer.Option(
            help="A vector to search by, in place of a query: a file of a JSON array, or NumPy's .npy.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    collection: Collection = "default",
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many results.")] = 10,
    where: Annotated[
        str | None, typer.Option("--filter", help='Metadata to match, as JSON: \'{"kind": "emoji"}\'.')
    ] = None,
    route: RouteOption = "auto",
    augment_threshold: Threshold = None,
    max_augment_tokens: MaxAugmentTokens = None,
    instruction: Annotated[str | None, typer.Option(help="What to look for.")] = None,
    pictures: Annotated[
        Pictures, typer.Option(help="How pictures are shown; auto: as this terminal is able to.")
    ] = Pictures.AUTO,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Search a collection of a running server with a text, an image, both, or a vector."""
    from rich.console import Console

    from service.cli.client import Client
    from service.cli.output import print_json
    from service.cli.pictures import choose
    from service.cli.results import show_answer
    from service.client.requests import Routing

    body: dict[str, Any] = {**_question(text, image, vector), "collection": collection, "k": k}
    body |= Routing(route, instruction, augment_threshold, max_augment_tokens).body()
    if where is not None:
        body["filter"] = _parse_filter(where)
    with Client(url) as client:
        answer = client.call("POST", "/search", body)
        if as_json:
            print_json(answer)
            return
        console = Console()

        def fetch(path: str) -> bytes:
            with client.stream("GET", path) as response:
                return response.read()

        show_answer(answer, choose(pictures, console), fetch, console)


def _question(text: str | None, image: str | None, vector: Path | None) -> dict[str, Any]:
    """What is looked for: the body's `query` or its `vector`."""
    from service.cli.inputs import body_of, one_item, read_vector

    if text is None and image is None and vector is None:
        fail("Give a text, --image FILE, both, or --vector FILE.", Exit.USAGE)
    if vector is None:
        return {"query": body_of(one_item(text, image, "the query"))}
    if text is not None or image is not None:
        fail("Search by a text and an image, or by --vector, not by both.", Exit.USAGE)
    return {"vector": read_vector(vector)}


def _parse_filter(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        name, equals, value = text.partition("=")
        form = json.dumps({name.strip(): value.strip()} if equals and name.strip() else {"kind": "emoji"})
        fail(f"--filter {text!r} is not JSON. Write --filter '{form}'.", Exit.USAGE)
