"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import typer

DEFAULT_URL = "http://127.0.0.1:8080"

Url = Annotated[
    str,
    typer.Option(
        "--url", envvar="SOLOMON_URL", help="The running server. SOLOMON_API_KEY holds its key, if any."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of a table.")]
RouteOption = Annotated[
    Literal["auto", "embed", "augment"],
    typer.Option("--route", help="auto: the model decides; embed: pool at once; augment: write first."),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        "--augment-threshold",
        min=0.0,
        max=1.0,
        help="P(/augment) from which to augment; default: the server's.",
        show_default=False,
    ),
]
MaxAugmentTokens = Annotated[
    int | None,
    typer.Option(
        "--max-augment-tokens",
        min=1,
        help="Most tokens of the written answer; default: the server's limit.",
        show_default=False,
    ),
]
ImageOption = Annotated[
    str | None,
    typer.Option(
        "--image",
        metavar="FILE",
        help="An image file, or an https address on a host that the server fetches from.",
        show_default=False,
    ),
]
Collection = Annotated[str, typer.Option("--collection", "-c", help="The collection.")]


class Pictures(StrEnum):
    """How pictures are shown."""

    AUTO = "auto"
    KITTY = "kitty"
    ITERM2 = "iterm2"
    BLOCKS = "blocks"
    NONE = "none"
