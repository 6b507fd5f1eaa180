"""`solomon embed`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from service.cli.options import (
    DEFAULT_URL,
    AsJson,
    ImageOption,
    MaxAugmentTokens,
    RouteOption,
    Threshold,
    Url,
)

if TYPE_CHECKING:
    from service.cli.inputs import Given

_SHOWN = 6  # numbers of a vector


def embed(
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT...",
            help='Texts; "-" reads one a line from standard input. May be left out with --image.',
            show_default=False,
        ),
    ] = None,
    image: ImageOption = None,
    jsonl: Annotated[
        bool,
        typer.Option(
            "--jsonl",
            help='Read items from standard input, one a line: "a text", or {"text": ..., "image": ...}.',
        ),
    ] = False,
    input_type: Annotated[
        Literal["query", "document"], typer.Option(help="Queries are routed, documents are not.")
    ] = "query",
    route: RouteOption = "auto",
    augment_threshold: Threshold = None,
    max_augment_tokens: MaxAugmentTokens = None,
    instruction: Annotated[str | None, typer.Option(help="What to look for.")] = None,
    dimensions: Annotated[
        int | None,
        typer.Option(min=1, help="Keep only the first dimensions; default: all.", show_default=False),
    ] = None,
    truncate: Annotated[
        bool, typer.Option("--truncate", help="Cut a text that is too long, rather than refuse it.")
    ] = False,
    url: Url = DEFAULT_URL,
    offline: Annotated[bool, typer.Option("--offline", help="Load the model here; needs no server.")] = False,
    as_json: AsJson = False,
) -> None:
    """Embed items: texts, an image, or a text and an image together.

    Several are embedded all or not at all: the first one that cannot be ends
    the command, which names it. With --json their vectors are printed whole, in
    the order of the items.
    """
    from service.cli.asking import Asking
    from service.cli.inputs import several_items
    from service.client.requests import Routing

    given = several_items(texts or [], image, jsonl=jsonl)
    routing = Routing(route, instruction, augment_threshold, max_augment_tokens)
    asking = Asking(input_type, routing, dimensions, truncate)
    if offline:
        from service.cli.offline import embed_offline

        answer = embed_offline(given, asking)
    else:
        from service.cli.embedding import embed_on_server

        answer = embed_on_server(url, given, asking)
    _show(answer, given, as_json)


def _show(answer: dict[str, Any], given: Sequence[Given], as_json: bool) -> None:
    from service.cli.output import print_json, print_pairs, print_table

    if as_json:
        print_json(answer)
        return
    rows = [_members(entry, answer["dimensions"]) for entry in answer["data"]]
    if len(rows) == 1:
        print_pairs({"model": answer["model"], **rows[0]})
        return
    named = ((each.source, *row.values()) for each, row in zip(given, rows, strict=True))
    print_table(("item", *rows[0]), named)


def _members(entry: dict[str, Any], dimensions: int) -> dict[str, Any]:
    head = ", ".join(f"{value:.4f}" for value in entry["embedding"][:_SHOWN])
    more = ", ..." if dimensions > _SHOWN else ""
    return {
        "route": entry["route"],
        "confidence": None if entry["confidence"] is None else f"{entry['confidence']:.3f}",
        "augmentation": entry["augmentation"],
        "vector": f"[{head}{more}] of {dimensions}",
    }
