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
        typer.Option(help="A checkpoint, or state.safetensors of a run, whose adapter this one begins with."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: cuda where there is one.")] = "auto",
    tensorboard: Annotated[bool, typer.Option(help="Write curves to RUN/tensorboard.")] = True,
) -> None:
    """Train LoRA and route tokens by L_rep + alpha_gen L_gen; run again to go on after an interruption.

    On several GPUs, with Accelerate's launcher and one of the configurations that come with the package
    (`solomon train accelerate-config ddp` prints its path):

    accelerate launch --config_file "$(solomon train accelerate-config ddp)" -m training.cli.joint ...
    """
    from model.allocation import keep_freed_memory
    from training.joint import Places, train
    from training.recipe import load_recipe

    keep_freed_memory()
    with failures():
        places = Places(data, run, output, tower, start_from)
        train(load_recipe(recipe), places, device, console.print, tensorboard)


def accelerate_config(
    kind: Annotated[str, typer.Argument(help="ddp: the model whole on each GPU; fsdp: sharded over them.")],
) -> None:
    """Print the path of a shipped Accelerate configuration, for `accelerate launch --config_file`."""
    folder = Path(__file__).parents[1] / "accelerate"
    path = folder / f"{kind}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        typer.echo(f"solomon: no configuration '{kind}'; there are: {known}.", err=True)
        raise typer.Exit(2)
    typer.echo(path)


if __name__ == "__main__":  # how Accelerate's launcher starts it
    typer.run(joint)
