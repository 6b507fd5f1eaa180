"""From a finished run to a checkpoint folder: adapter and vision weights in bf16, manifest, scores."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.checkpoint import MANIFEST, VISION, Base, Manifest, read_manifest, write_manifest
from model.mini_base import NAME as MINI_BASE
from training.provenance import FACTS
from training.recipe import Recipe

ADAPTER = "adapter_model.safetensors"


def export_checkpoint(
    folder: Path,
    peft_model: Any,
    recipe: Recipe,
    revision: str,
    vision: Mapping[str, Tensor],
    facts: dict[str, Any],
) -> Manifest:
    """Write a checkpoint folder (replacing an older checkpoint there) and its manifest.

    `vision` are the vision tower's weights that the base does not have (see `vision_weights`), `facts`
    describe the training.

    The threshold is the manifest's default until `calibrate` and the scores are added. Raises ValueError
    for a folder that holds something else.
    """
    with _replacing(folder) as partial:
        # Where this machine keeps its base is nobody else's business, nor would the path hold there.
        peft_model.peft_config["default"].base_model_name_or_path = recipe.base
        peft_model.save_pretrained(str(partial), save_embedding_layers=False)
        (partial / "README.md").unlink(missing_ok=True)  # peft's template, empty of facts
        _save_bfloat16(load_file(partial / ADAPTER), partial / ADAPTER)
        if vision:
            # A run that takes these weights as its tower (--tower) then knows how they came to be.
            _save_bfloat16(vision, partial / VISION, facts.get("vision_tower"))
        return write_manifest(partial, _manifest(recipe, revision, facts))


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """An empty folder that takes the place of `folder` once the block is through, and not before."""
    require_replaceable(folder)
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    older = folder.with_name(f"{folder.name}.older")
    shutil.rmtree(older, ignore_errors=True)
    if folder.exists():  # one of the two is whole at every moment
        folder.rename(older)
    partial.rename(folder)
    shutil.rmtree(older, ignore_errors=True)


def _manifest(recipe: Recipe, revision: str, facts: dict[str, Any]) -> Manifest:
    licences = {"adapter and vision weights": "Apache-2.0"}
    if recipe.base == MINI_BASE:
        licences["SmolLM2-135M-Instruct"] = "Apache-2.0"
    return Manifest(
        name=recipe.name,
        base=Base(model=recipe.base, revision=revision),
        max_augment_tokens=recipe.max_augment_tokens,
        dimensions=sorted(recipe.matryoshka),
        image_format=asdict(recipe.image_format),
        training={"recipe": recipe.model_dump(), **facts},
        licences=licences,
    )


def require_replaceable(folder: Path) -> None:
    """Raise ValueError unless the folder is missing, empty or a checkpoint: whatever else stays untouched.

    Nor may it be a place that cannot be renamed, as is told before hours of training.
    """
    if folder.is_symlink() or folder.is_mount() or not folder.name:
        raise ValueError(f"{folder} cannot be replaced as a whole; give a folder of its own below it.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise ValueError(f"{folder} holds other files than a checkpoint's; give another folder or empty it.")


def update_manifest(folder: Path, **changes: Any) -> Manifest:
    """Change fields of a checkpoint's manifest (threshold, scores) and rehash its files."""
    return write_manifest(folder, read_manifest(folder).model_copy(update=changes))


def vision_weights(tower: Any, whole: bool) -> dict[str, Tensor]:
    """What of the vision tower a checkpoint needs: all of it (`whole`), or the weights that learned.

    LoRA weights in it are the adapter's, and names are those of a tower without LoRA.
    """
    learned = {name for name, parameter in tower.named_parameters() if parameter.requires_grad}
    return {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in tower.state_dict().items()
        if "lora_" not in name and (whole or name in learned)
    }


def _save_bfloat16(tensors: Mapping[str, Tensor], path: Path, facts: dict[str, Any] | None = None) -> None:
    metadata = {FACTS: json.dumps(facts)} if facts else None
    rounded = {name: t.detach().cpu().to(torch.bfloat16).contiguous() for name, t in tensors.items()}
    save_file(rounded, path, metadata=metadata)
    path.chmod(0o644)  # safetensors writes for the owner alone; a server often runs as another user
