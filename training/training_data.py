"""The rows that a recipe trains on, from a data folder: `train/<dataset>.parquet`, or MMEB's own shards."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from training.mmeb import TrainingRow, read_training_rows
from training.recipe import Recipe
from training.responses import rows_with_responses
from training.subsets import Account, ImageRoot, training_rows

NAMED_BAD_ROWS = 5  # of each dataset; the rest are counted


def read_training_data(
    data: Path, recipe: Recipe, report: Callable[[str], None] = print
) -> dict[str, list[TrainingRow]]:
    """Every dataset's rows with the responses that they learn.

    A dataset is one file of our own making, in which every row must be right, or a folder of MMEB's
    shards, whose bad rows are reported and left out. Raises ValueError for a missing dataset by name.
    """
    return {
        name: rows_with_responses(
            name, _chosen(name, _read(data, name, recipe, report), recipe), recipe, report
        )
        for name in recipe.datasets
    }


def dataset_path(data: Path, name: str) -> Path:
    """A dataset's file or folder. Raises ValueError where there is neither."""
    file, folder = data / "train" / f"{name}.parquet", data / "train" / name
    if file.is_file():
        return file
    if folder.is_dir():
        return folder
    raise ValueError(f"{file} is missing: build the data first (solomon data mini) or drop '{name}'.")


def _read(data: Path, name: str, recipe: Recipe, report: Callable[[str], None]) -> list[TrainingRow]:
    path = dataset_path(data, name)
    if path.is_file():
        return read_training_rows(path)
    account = Account()
    rows = list(training_rows(path, account, ImageRoot(data / "images"), recipe.split))
    if account.bad:
        report(f"{name}: {account.summary()}")
        for row in account.bad[:NAMED_BAD_ROWS]:
            report(f"  {row}")
    return rows


def _chosen(name: str, rows: list[TrainingRow], recipe: Recipe) -> list[TrainingRow]:
    if recipe.rows_per_dataset is None or len(rows) <= recipe.rows_per_dataset:
        return rows
    kept = random.Random(f"{recipe.seed}/{name}/rows").sample(range(len(rows)), recipe.rows_per_dataset)
    return [rows[number] for number in sorted(kept)]
