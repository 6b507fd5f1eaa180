"""`solomon train joint`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.cli.console import Data, console, failures


def joint(
    data: Data,
    output: Annotated[Path, typer.Option(help="The checkpoint folder to write.")],
    run: Annotated[Path, typer.Option(help="The run's folder: resumable state and log.")],
    recipe: Annotated[str, typer.Option(help="A shipped recipe's name or a TOML file.")] = "mini",
    tower: Annotated[
        Path | None, typer.Option(help="Pre-trained vision tower, for bases without one.")
    ] = None,
    start_from: Annotated[
        Path | None,
        typer.Option(help="state.safetensors of an earlier run whose adapter this one begins with."),
    ] = None,
    device: Annotated[str, typer.Option(help="Torch device.")] = "cpu",
) -> None:
    """Train LoRA and route tokens by L_rep + alpha_gen L_gen; run again to go on after an interruption."""
    from training.joint import Places, train
    from training.recipe import load_recipe

    with failures():
        train(load_recipe(recipe), Places(data, run, output, tower, start_from), device, console.print)
