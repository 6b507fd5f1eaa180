"""How the training commands speak: what they print, how they fail, and the options that several share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from model.errors import SolomonError

console = Console(markup=False)

Data = Annotated[Path, typer.Option("--data", help="Folder of the training data (train/, eval/, images/).")]


@contextmanager
def failures() -> Iterator[None]:
    """End with one line on standard error: exit code 2 for a wrong input, 1 for anything else that failed."""
    try:
        yield
    except ValueError as error:
        typer.echo(f"solomon: {error}", err=True)
        raise typer.Exit(2) from error
    except (SolomonError, OSError) as error:
        typer.echo(f"solomon: {error}", err=True)
        raise typer.Exit(1) from error
