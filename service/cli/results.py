"""What `solomon search` shows: how the query went, and the documents, with their pictures where it can."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from service.cli.options import Pictures
from service.cli.output import print_pairs
from service.cli.pictures import as_blocks, as_iterm2, as_kitty

FetchImage = Callable[[str], bytes]
"""The image at a path of the server."""


def show_answer(
    answer: Mapping[str, Any], pictures: Pictures, fetch: FetchImage, console: Console | None = None
) -> None:
    """Print an answer of `POST /search`."""
    console = console or Console()
    print_pairs(
        {
            "route": None if answer["route"] is None else f"{answer['route']} ({answer['confidence']:.3f})",
            "augmentation": answer["augmentation"],
            "latency": _latency(answer["latency_ms"]),
        },
        console,
    )
    draw = {Pictures.KITTY: as_kitty, Pictures.ITERM2: as_iterm2}.get(pictures)
    if draw is None:
        console.print(_table(answer["results"], fetch if pictures is Pictures.BLOCKS else None))
        return
    for hit in answer["results"]:
        line = f"{hit['score']:.3f}  [bold]{escape(hit['id'])}[/]  {escape(_words(hit))}"
        console.print(line, highlight=False)
        if hit["image_url"]:
            console.file.write(f"{draw(fetch(hit['image_url']))}\n")


def _latency(milliseconds: Mapping[str, float]) -> str:
    """The whole call, and the stages that the server names."""
    stages = ", ".join(f"{name} {value:.1f}" for name, value in milliseconds.items() if name != "total")
    return f"{milliseconds['total']:.0f} ms" + (f" ({stages})" if stages else "")


def _table(hits: Sequence[Mapping[str, Any]], fetch: FetchImage | None) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    if fetch is not None:
        table.add_column("")
    for name in ("score", "id", "document"):
        table.add_column(name, overflow="fold")  # ids are for copying, so nothing is cut
    for hit in hits:
        cells: list[Any] = [f"{hit['score']:.3f}", escape(hit["id"]), escape(_words(hit))]
        if fetch is not None:
            cells.insert(0, as_blocks(fetch(hit["image_url"])) if hit["image_url"] else "")
        table.add_row(*cells)
    return table


def _words(hit: Mapping[str, Any]) -> str:
    metadata = hit["metadata"]  # `file` is what `solomon index add` notes of a picture
    return str(hit["text"] or metadata.get("name") or metadata.get("file") or hit["image_url"] or "")
