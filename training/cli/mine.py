"""`solomon train mine`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from training.cli.console import Data, console, failures


def mine(
    data: Data,
    checkpoint: Annotated[
        Path, typer.Option(help="The checkpoint that ranks, NoAug say.", exists=True, file_okay=False)
    ],
    output: Annotated[Path, typer.Option(help="Folder for train/*.parquet with mined negatives.")],
    dataset: Annotated[
        list[str] | None, typer.Option(help="A subset to mine, repeatable; default: all in train/.")
    ] = None,
    count: Annotated[int, typer.Option(help="Hard negatives of a query.")] = 1,
    first_rank: Annotated[int, typer.Option(help="The window's first rank; the positive has none.")] = 1,
    last_rank: Annotated[int, typer.Option(help="The window's last rank.")] = 50,
    margin: Annotated[
        float,
        typer.Option(help="Leave out what is more similar to the query than so many times its positive."),
    ] = 0.95,
    seed: Annotated[int, typer.Option(help="Of the choice within the window.")] = 0,
) -> None:
    """Write rows whose neg_* columns hold negatives that a checkpoint finds hard; run again to go on."""
    from model.checkpoint import load_model
    from model.engine import Engine, EngineSettings
    from training.mining import MiningRule
    from training.mining_run import mine_datasets

    with failures():
        rule = MiningRule(count, first_rank, last_rank, margin, seed)
        names = dataset or sorted(path.stem for path in (data / "train").glob("*.parquet"))
        if not names:
            raise ValueError(f"{data / 'train'} holds no subsets: build the data first.")
        with closing(Engine(load_model(checkpoint, console.print), EngineSettings())) as engine:
            mine_datasets(engine, data, names, output, rule, console.print)
