"""`solomon evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from training.cli.console import Data, console, failures


def evaluate(
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
