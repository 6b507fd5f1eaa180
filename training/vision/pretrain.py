"""Makes the mini base's vision tower: ImageNet's network, and a merger taught the names of our images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import torch
from rich.progress import Progress

from model.checkpoint import load_base
from model.mini_base import IMAGE_FORMAT
from model.mini_base import NAME as MINI_BASE
from training.features import FEATURES, tower_features
from training.mmeb import TrainingRow, read_training_rows
from training.provenance import machine_facts
from training.vision.backbone import SOURCE, fold_into, load_network
from training.vision.naming import NamingRecipe, name_embeddings, place_among_words, train_merger
from training.vision.tower_file import save_tower

NAMED = ("caltech101", "clothing", "cifar10", "emoji_i2i")
MEASURED = 256  # images that the tokens' size is measured on


def pretrain_tower(data: Path, output: Path, steps: int | None, report: Callable[[str], None]) -> None:
    """Write the tower to `output`; every training image whose name the rows tell takes part."""
    named = named_images(data)
    report(f"{len(named)} training images with names")
    model, tokenizer = load_base(MINI_BASE, report)
    tower = model.model.visual
    fold_into(tower, load_network())
    for weights in tower.parameters():  # as the checkpoint, which holds bf16, will give them back
        weights.data = weights.data.bfloat16().float()
    found = tower_features(tower, list(named), data / "images", IMAGE_FORMAT, data / FEATURES)
    features = torch.stack([found[path] for path in named])
    vocabulary = sorted(set(named.values()))
    number = {name: index for index, name in enumerate(vocabulary)}
    label = torch.tensor([number[name] for name in named.values()])
    embedding = model.get_input_embeddings().weight.detach()
    names = name_embeddings(vocabulary, tokenizer, embedding)
    recipe = NamingRecipe() if steps is None else replace(NamingRecipe(), steps=steps)
    with Progress() as progress:
        task = progress.add_task("Vision merger", total=recipe.steps)

        def follow(step: int, loss: float) -> None:
            progress.update(task, completed=step, description=f"Vision merger, loss {loss:.3f}")

        train_merger(tower.merger, features, label, names, recipe, follow)
    place_among_words(tower.merger, features[:: max(1, len(features) // MEASURED)], embedding)
    facts = {
        "network": SOURCE,
        "images": len(named),
        "merger": asdict(recipe),
        "machine": machine_facts("cpu"),
    }
    save_tower(tower, output, facts)
    report(f"Wrote {output}")


def named_images(data: Path) -> dict[str, str]:
    """Every training image with its name, from the rows that tell it (`pos_key`).

    Raises ValueError when a dataset is missing.
    """
    found: dict[str, str] = {}
    for dataset in NAMED:
        source = data / "train" / f"{dataset}.parquet"
        if not source.exists():
            raise ValueError(f"{source} is missing: build the data with its photos and emoji first.")
        for row in read_training_rows(source):
            found |= dict.fromkeys(_images_of_positive(row), row.pos_key)
    return found


def _images_of_positive(row: TrainingRow) -> list[str]:
    return [path for path in (row.qry_image_path, row.pos_image_path) if path]
