"""`solomon data mini`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.cli.console import Data, console, failures


def mini(
    data: Data,
    photos: Annotated[
        Path | None, typer.Option(help="Folder with the *_train.parquet photo and caption files.")
    ] = None,
    emoji: Annotated[
        Path | None,
        typer.Option(
            help="Folder with google/package and twitter/package, the unpacked npm emoji-datasource packages."
        ),
    ] = None,
) -> None:
    """Build the mini data set in MMEB's row format, with development splits held out by content."""
    from training.mini.build import build_mini_data

    with failures():
        build_mini_data(data, photos, emoji, console.print)
