"""`solomon data mini` and `solomon data check`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from training.cli.console import console, failures

NAMED = 100  # bad rows that are printed; --rejected writes all of them


class Kind(StrEnum):
    """Which of MMEB's two row formats a subset has."""

    TRAINING = "training"
    EVALUATION = "evaluation"


def mini(
    output: Annotated[
        Path, typer.Option(help="The data folder to write (train/, eval/, calibration/, images/).")
    ],
    photos: Annotated[
        Path | None, typer.Option(help="Folder with the *_train.parquet photo and caption files.")
    ] = None,
    packages: Annotated[
        Path | None,
        typer.Option(
            help="Folder that npm installed into (npm install --prefix DIR emoji-datasource-google "
            "emoji-datasource-twitter flag-icons @fortawesome/fontawesome-free)."
        ),
    ] = None,
) -> None:
    """Build the mini benchmark in MMEB's row format, with development splits held out by content."""
    from training.mini.build import build_mini_data

    with failures():
        build_mini_data(output, photos, packages, console.print)


def check(
    source: Annotated[
        str,
        typer.Argument(
            help="A subset's folder or file, or an address (hf://datasets/TIGER-Lab/MMEB-eval/OK-VQA)."
        ),
    ],
    kind: Annotated[Kind, typer.Option(help="The row format.")] = Kind.TRAINING,
    images: Annotated[
        Path | None, typer.Option(help="Image root; rows whose images are missing are then bad.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split to read where there are several (original).")] = "",
    rejected: Annotated[Path | None, typer.Option(help="Write every bad row to this file.")] = None,
) -> None:
    """Read a subset of MMEB to its end, count and name its bad rows; exit code 1 if there are any."""
    from training.subsets import Account, ImageRoot, evaluation_rows, training_rows

    with failures():
        account, root = Account(), ImageRoot(images) if images else None
        stream = training_rows if kind is Kind.TRAINING else evaluation_rows
        for _ in stream(source, account, root, split):
            pass
        for row in account.bad[:NAMED]:
            console.print(str(row), soft_wrap=True)
        if len(account.bad) > NAMED:
            console.print(f"and {len(account.bad) - NAMED} more")
        if rejected is not None:
            rejected.write_text("".join(f"{row}\n" for row in account.bad), "utf-8")
        console.print(account.summary())
    if account.bad:
        raise typer.Exit(1)
