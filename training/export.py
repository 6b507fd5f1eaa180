"""From a finished run to a checkpoint folder: adapter and vision weights in bf16, manifest, scores."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from model.checkpoint import VISION, Base, Manifest, write_manifest
from model.mini_base import NAME as MINI_BASE
from training.recipe import Recipe
from training.vision.distill import save_tower

ADAPTER = "adapter_model.safetensors"


def export_checkpoint(
    folder: Path,
    peft_model: Any,
    recipe: Recipe,
    revision: str,
    image_side: int | None,
    facts: dict[str, Any],
) -> Manifest:
    """Write a checkpoint folder (replacing what is there) and its manifest; `facts` describe the training.

    The threshold is the manifest's default until `calibrate` and the scores are added.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    peft_model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's template, empty of facts
    adapter = load_file(folder / ADAPTER)
    save_file({name: t.to(torch.bfloat16).contiguous() for name, t in adapter.items()}, folder / ADAPTER)
    if recipe.base == MINI_BASE:
        save_tower(peft_model.get_base_model().model.visual, folder / VISION)
    manifest = Manifest(
        name=recipe.name,
        base=Base(model=recipe.base, revision=revision),
        max_augment_tokens=recipe.max_augment_tokens,
        image_format={"square_side": image_side, "min_pixels": 56 * 56, "max_pixels": 28 * 28 * 640},
        training={"recipe": recipe.model_dump(), **facts},
        licences={
            "SmolLM2-135M-Instruct": "Apache-2.0",
            "adapter and vision weights": "Apache-2.0",
        },
    )
    return write_manifest(folder, manifest)


def update_manifest(folder: Path, **changes: Any) -> Manifest:
    """Change fields of a checkpoint's manifest (threshold, scores) and rehash its files."""
    from model.checkpoint import read_manifest

    return write_manifest(folder, read_manifest(folder).model_copy(update=changes))
