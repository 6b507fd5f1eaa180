"""Puts a joint training run together: base, tower, data and recipe to a trained checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from model.checkpoint import base_revision, load_base
from model.images import ImageFormat
from model.mini_base import NAME as MINI_BASE
from model.prompts import PromptEncoder
from training.batches import BatchBuilder, Sampler
from training.export import export_checkpoint, require_replaceable, vision_weights
from training.features import image_paths, tower_features
from training.mmeb import TrainingRow, read_training_rows
from training.provenance import data_facts, machine_facts, tower_facts
from training.recipe import Recipe
from training.state import load_parameters, stored_facts
from training.student import Student, add_lora
from training.trainer import Trainer
from training.vision.distill import load_tower

SPLITS = "Held-out contents (a tenth, by content hash) are scored (7 %) or calibrate the threshold (3 %)."
PIXELS_PER_IMAGE_TOKEN = 28  # a side: patches of 14 pixels, merged two by two


@dataclass(frozen=True, slots=True)
class Places:
    """Where a run reads and writes: the data (train/, images/), the run's state, the checkpoint to write."""

    data: Path
    run: Path
    output: Path
    tower: Path | None = None
    start_from: Path | None = None  # another run's state: its adapter is where this run begins


def train(recipe: Recipe, places: Places, device: str = "cpu", report: Callable[[str], None] = print) -> None:
    """Train (or go on training) and export.

    Raises ValueError for missing data, naming the subset, and for an output folder of something else.
    """
    require_replaceable(places.output)
    rows = {name: _read_subset(places.data, name) for name in recipe.datasets}
    mini = recipe.base == MINI_BASE
    if mini and places.tower is None and any(image_paths(subset) for subset in rows.values()):
        raise ValueError(
            "The mini base sees nothing by itself: give --tower (solomon train vision makes one)."
        )
    model, tokenizer = load_base(recipe.base, report)
    tower = model.model.visual
    if places.tower is not None:
        load_tower(tower, places.tower)
    paths = image_paths(row for subset in rows.values() for row in subset)
    features = tower_features(
        tower, paths, places.data / "images", ImageFormat(recipe.image_side), places.run / "features"
    )
    model.to(device=device, dtype=torch.bfloat16)
    prompts = PromptEncoder(tokenizer)
    torch.manual_seed(recipe.seed)  # the adapter's initial weights
    adapted = add_lora(model, recipe, prompts.routes)
    for parameter in tower.merger.parameters():
        parameter.requires_grad_(recipe.merger_learning_rate > 0)
    tower.merger.float()
    grid = (recipe.image_side or 0) // PIXELS_PER_IMAGE_TOKEN
    student = Student(adapted, prompts.routes, features, grid)
    if places.start_from is not None:
        load_parameters(places.start_from, student, skip=".visual.merger.")
    builder = BatchBuilder(prompts, grid**2, recipe.max_text_tokens, recipe.max_augment_tokens)
    sampler = Sampler(rows, recipe.datasets, recipe.batch_size, recipe.seed)
    trainer = Trainer(student, builder, sampler, recipe, places.run)
    trainer.run()
    revision = base_revision(recipe.base, model)
    vision = vision_weights(tower, whole=mini or places.tower is not None)
    facts = {
        "data": data_facts(places.data, rows),
        "splits": SPLITS,
        "machine": machine_facts(device),
        "seconds": trainer.seconds(),
    }
    if places.tower is not None:
        facts["vision_tower"] = tower_facts(places.tower)
    if places.start_from is not None:
        facts["start_from"] = stored_facts(places.start_from)
    export_checkpoint(places.output, adapted, recipe, revision, vision, facts)
    report(f"Wrote {places.output}")


def _read_subset(data: Path, name: str) -> list[TrainingRow]:
    path = data / "train" / f"{name}.parquet"
    if not path.exists():
        raise ValueError(f"{path} is missing: build the data first (solomon data mini) or drop '{name}'.")
    return read_training_rows(path)
