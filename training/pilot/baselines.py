"""The two baselines of the study, NoAug and AlwaysAug, trained from one recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq

from model.allocation import keep_freed_memory
from model.checkpoint import MANIFEST, read_manifest
from training.annotation import text_column, training_files
from training.joint import Places, train
from training.recipe import Mode, Recipe

NO_AUG: Mode = "no-augmentation"
ALWAYS_AUG: Mode = "always-augment"

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BaselineRun:
    """What both baselines are trained with; `run` gets a folder for each and what they share."""

    recipe: Recipe
    data: Path
    run: Path
    tower: Path | None = None
    device: str = "auto"

    def places(self, mode: Mode) -> Places:
        """Where one baseline is trained and written."""
        folder = self.run / mode
        return Places(self.data, folder, folder / "checkpoint", self.tower)

    def in_folder(self, data: Path, run: Path) -> BaselineRun:
        """The same training on other data."""
        return replace(self, data=data, run=run)


def baseline_recipe(recipe: Recipe, mode: Mode, data: Path, report: Report = print) -> Recipe:
    """The recipe of one baseline.

    A dataset without a single augmentation cannot teach to augment: AlwaysAug leaves it out, and says so.
    Raises ValueError when that leaves none.
    """
    names = list(recipe.datasets)
    if mode == ALWAYS_AUG:
        kept = [name for name in names if has_augmentations(data, name, recipe.split)]
        if not kept:
            raise ValueError("No dataset of the recipe has augmentations: make some (solomon synthesize).")
        if left_out := sorted(set(names) - set(kept)):
            report(f"AlwaysAug trains without {', '.join(left_out)}: no augmentations there.")
        names = kept
    datasets = recipe.datasets
    chosen = {name: datasets[name] for name in names} if isinstance(datasets, dict) else names
    changes = {"name": f"{recipe.name}-{mode}", "mode": mode, "datasets": chosen}
    return Recipe.model_validate({**recipe.model_dump(), **changes})


def has_augmentations(data: Path, dataset: str, split: str = "") -> bool:
    """Whether any row of a dataset has an augmentation. Raises ValueError for a missing dataset."""
    for path in training_files(data, dataset, split):
        if "augmentation" in pq.read_schema(path).names:
            table = pq.read_table(path, columns=["augmentation"])
            if any(text_column(table, "augmentation")):
                return True
    return False


def train_baseline(run: BaselineRun, mode: Mode, report: Report = print) -> Path:
    """Train one baseline, or take the checkpoint that an earlier call finished; returns its folder."""
    recipe, places = baseline_recipe(run.recipe, mode, run.data, report), run.places(mode)
    if (places.output / MANIFEST).is_file():
        if recipe.same_run(read_manifest(places.output).training.get("recipe", {})):
            return places.output
        raise ValueError(f"{places.output} was trained by another recipe; give another --run folder.")
    _share_features(run.run / "features", places.run)
    report(f"Training {recipe.name} into {places.output}")
    keep_freed_memory()
    train(recipe, places, run.device, report)
    return places.output


def _share_features(shared: Path, run: Path) -> None:
    """Both baselines see the same pictures: let them have one cache of the vision tower's features."""
    shared.mkdir(parents=True, exist_ok=True)
    run.mkdir(parents=True, exist_ok=True)
    link = run / "features"
    if not link.exists():
        link.symlink_to(shared.resolve(), target_is_directory=True)
