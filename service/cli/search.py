"""`solomon search`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.exits import Exit, fail
from service.cli.options import DEFAULT_URL, AsJson, Collection, RouteOption, Url


def search(
    text: Annotated[str | None, typer.Argument(help="The query; may be left out with --image.")] = None,
    image: Annotated[Path | None, typer.Option(help="An image file.", exists=True, dir_okay=False)] = None,
    collection: Collection = "default",
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many results.")] = 10,
    where: Annotated[
        str | None, typer.Option("--filter", help='Metadata to match, as JSON: \'{"kind": "emoji"}\'.')
    ] = None,
    route: RouteOption = "auto",
    augment_threshold: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="P(/augment) from which to augment; default: the server's."),
    ] = None,
    instruction: Annotated[str | None, typer.Option(help="What to look for.")] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Search a collection of a running server with a text, an image, or both."""
    from service.cli.client import Client
    from service.cli.inputs import item

    if text is None and image is None:
        fail("Give a text, --image FILE, or both.", Exit.USAGE)
    body: dict[str, Any] = {"query": item(text, image), "collection": collection, "k": k, "route": route}
    if augment_threshold is not None:
        body["augment_threshold"] = augment_threshold
    if instruction is not None:
        body["instruction"] = instruction
    if where is not None:
        body["filter"] = _parse_filter(where)
    with Client(url) as client:
        answer = client.call("POST", "/search", body)
    _show(answer, as_json)


def _parse_filter(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        name, equals, value = text.partition("=")
        form = json.dumps({name.strip(): value.strip()} if equals and name.strip() else {"kind": "emoji"})
        fail(f"--filter {text!r} is not JSON. Write --filter '{form}'.", Exit.USAGE)


def _show(answer: dict[str, Any], as_json: bool) -> None:
    from service.cli.output import print_json, print_pairs, print_table

    if as_json:
        print_json(answer)
        return
    print_pairs(
        {
            "route": f"{answer['route']} ({answer['confidence']:.3f})",
            "augmentation": answer["augmentation"],
            "latency": f"{answer['latency_ms']['total']:.0f} ms",
        }
    )
    rows = [
        (f"{hit['score']:.3f}", hit["id"], hit["text"] or hit["metadata"].get("name") or hit["image_url"])
        for hit in answer["results"]
    ]
    print_table(("score", "id", "document"), rows)
