"""Puts the tower's pre-training together: training images and their names, teacher views, distillation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import torch

from model.checkpoint import load_base
from model.images import square_patches
from model.mini_base import NAME as MINI_BASE
from training.mmeb import TrainingRow, read_training_rows
from training.provenance import machine_facts
from training.vision.distill import (
    SIDE,
    Distiller,
    DistillRecipe,
    DistillStudent,
    name_embeddings,
    place_among_words,
    save_tower,
)
from training.vision.teacher import compute_views, crop

VIEWS = {"caltech101": 8, "clothing": 6, "cifar10": 2, "emoji_i2i": 2}


def pretrain_tower(
    data: Path, output: Path, run: Path, steps: int | None, report: Callable[[str], None]
) -> None:
    """Train the mini base's tower on every training image whose name the rows tell; write it to `output`."""
    named = named_images(data)
    paths, views, names = [], [], []
    for path, (dataset, name) in named.items():
        paths.append(data / "images" / path)
        views.append(VIEWS[dataset])
        names.append(name)
    report(f"{len(paths)} training images, {sum(views)} views")
    teacher_views = compute_views(paths, views, run / "teacher.safetensors")
    model, tokenizer = load_base(MINI_BASE, report)
    vocabulary = sorted(set(names))
    labels = torch.tensor([vocabulary.index(name) for name in names])
    embedding = model.get_input_embeddings().weight.detach()
    tower = model.model.visual
    torch.manual_seed(0)
    student = DistillStudent(
        tower, teacher_views.features.shape[-1], name_embeddings(vocabulary, tokenizer, embedding)
    )
    recipe = DistillRecipe() if steps is None else replace(DistillRecipe(), steps=steps)
    Distiller(student, teacher_views, labels, recipe, run / "distill").run()
    sample = teacher_views.images[:64]
    whole = torch.tensor([[1.0, 0.0, 0.0]]).expand(len(sample), 3)
    pixels = crop(sample, whole, SIDE).mul(255).round().byte()
    place_among_words(tower, square_patches(pixels.permute(0, 2, 3, 1)), embedding)
    facts = {
        "images": len(paths),
        "views_per_image": VIEWS,
        "teacher": "EfficientNet-Lite0, ImageNet weights (Apache-2.0)",
        "recipe": asdict(recipe),
        "machine": machine_facts("cpu"),
    }
    save_tower(tower, output, facts)
    report(f"Wrote {output}")


def named_images(data: Path) -> dict[str, tuple[str, str]]:
    """Every training image with its dataset and name, from the rows that tell it (`pos_key`).

    Raises ValueError when a dataset is missing.
    """
    found: dict[str, tuple[str, str]] = {}
    for dataset in VIEWS:
        source = data / "train" / f"{dataset}.parquet"
        if not source.exists():
            raise ValueError(f"{source} is missing: build the data with its photos and emoji first.")
        for row in read_training_rows(source):
            for path in _images_of_positive(row):
                found[path] = (dataset, row.pos_key)
    return found


def _images_of_positive(row: TrainingRow) -> list[str]:
    return [path for path in (row.qry_image_path, row.pos_image_path) if path]
