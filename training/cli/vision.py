"""`solomon train vision`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.cli.console import Data, console, failures


def vision(
    data: Data,
    tower: Annotated[Path, typer.Option(help="Where the trained tower goes (safetensors).")],
    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer steps; default: the recipe's.")] = None,
) -> None:
    """Make the mini base's vision tower; image features that an interrupted run computed are kept."""
    from training.vision.pretrain import pretrain_tower

    with failures():
        pretrain_tower(data, tower, steps, console.print)
