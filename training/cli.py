"""`solomon train`: build the data, pre-train the vision tower, train jointly, score."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from model.errors import SolomonError

app = typer.Typer(
    no_args_is_help=True, help="Produce a checkpoint: data, vision tower, joint training, scores."
)
console = Console(markup=False)

Data = Annotated[Path, typer.Option("--data", help="Folder of the training data (train/, eval/, images/).")]


@contextmanager
def failures() -> Iterator[None]:
    """End with one line on standard error: exit code 2 for a wrong input, 1 for anything else that failed."""
    try:
        yield
    except ValueError as error:
        typer.echo(f"solomon train: {error}", err=True)
        raise typer.Exit(2) from error
    except (SolomonError, OSError) as error:
        typer.echo(f"solomon train: {error}", err=True)
        raise typer.Exit(1) from error


@app.command()
def data(
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


@app.command()
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


@app.command()
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


@app.command()
def score(
    data: Data,
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint folder.", exists=True, file_okay=False)],
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most this many queries of each subset.")
    ] = None,
    save: Annotated[
        bool, typer.Option(help="Calibrate the threshold and write it and the scores into the manifest.")
    ] = False,
) -> None:
    """Score a checkpoint on the held-out subsets: P@1 by route, CF, share of /embed, route accuracy."""
    from training.scoring import score_checkpoint

    with failures():
        scores = score_checkpoint(checkpoint, data, limit, save, console.print)
    table = Table("dataset", "route", "queries", "of", "P@1", "CF", "/embed", "right route", "tokens")
    for one in scores:
        right = "" if one.route_accuracy is None else f"{one.route_accuracy:.3f}"
        figures = (
            f"{one.precision_at_1:.3f}",
            f"{one.confidence:.3f}",
            f"{one.embed_share:.3f}",
            right,
            f"{one.augment_tokens:.1f}",
        )
        table.add_row(one.dataset, one.route, str(one.queries), str(one.candidates), *figures)
    console.print(table)
