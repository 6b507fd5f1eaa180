"""What each query learns to answer, by the recipe's mode: its augmentation, or nothing but `/embed`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from training.mmeb import TrainingRow
from training.recipe import Recipe


def rows_with_responses(
    dataset: str, rows: Sequence[TrainingRow], recipe: Recipe, report: Callable[[str], None] = print
) -> list[TrainingRow]:
    """The rows with `augmentation` as the response to learn: empty where the query learns `/embed`.

    no-augmentation: empty everywhere. always-augment: the augmentation; rows that have none are left out
    and reported. adaptive: by the row's route, where the recipe's `labels` heed it and it says something,
    else the augmentation where there is one.

    Raises ValueError for a row that is to be augmented and has no augmentation (adaptive), or for a
    dataset without any augmentation (always-augment).
    """
    if recipe.mode == "no-augmentation":
        return [replace(row, augmentation="") for row in rows]
    if recipe.mode == "always-augment":
        return _augmented_rows(dataset, rows, report)
    return [_adaptive(dataset, row) for row in rows] if recipe.labels == "route" else list(rows)


def _augmented_rows(
    dataset: str, rows: Sequence[TrainingRow], report: Callable[[str], None]
) -> list[TrainingRow]:
    found = [row for row in rows if row.augmentation]
    if not found:
        raise ValueError(
            f"Dataset '{dataset}' has no augmentations, which mode 'always-augment' needs: "
            "make them (solomon synthesize) or drop the dataset."
        )
    if len(found) < len(rows):
        report(f"{dataset}: {len(rows) - len(found)} of {len(rows)} rows have no augmentation; left out.")
    return found


def _adaptive(dataset: str, row: TrainingRow) -> TrainingRow:
    if row.route == "augment" and not row.augmentation:
        raise ValueError(
            f"Dataset '{dataset}': the query '{row.qry[:60]}' has route 'augment' and no augmentation. "
            "Make one (solomon synthesize) or change its route."
        )
    return replace(row, augmentation="") if row.route == "embed" else row
