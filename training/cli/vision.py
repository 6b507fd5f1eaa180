"""`solomon train vision`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.cli.console import Data, console, failures


def vision(
    data: Data,
    tower: Annotated[Path, typer.Option(help="Where the trained tower goes (safetensors).")],
    run: Annotated[Path, typer.Option(help="The run's folder: teacher features and resumable state.")],
    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer steps; default: the recipe's.")] = None,
) -> None:
    """Pre-train the mini vision tower by distillation; run again to go on after an interruption."""
    from training.vision.pretrain import pretrain_tower

    with failures():
        pretrain_tower(data, tower, run, steps, console.print)
