"""The frozen vision tower's hidden states of every training image, computed once and kept on disk.

The joint training learns the merger and the language model's adapter, not the tower, so an image costs
the tower one pass in a whole run instead of one a step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from rich.progress import track
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.images import ImageFormat, decode_image, square_patches, squash
from model.vision import tower_forward
from training.mmeb import TrainingRow

BATCH = 64
FEATURES = "features"  # folder of the cache beside the data: every run with the same tower shares it
SAVE_EVERY = 32  # batches


def image_paths(rows: Iterable[TrainingRow]) -> list[str]:
    """Every image that the rows name, sorted, once each."""
    found = set()
    for row in rows:
        found |= {row.qry_image_path, row.pos_image_path}
        found |= {negative.image_path for negative in row.hard_negatives}
    return sorted(found - {""})


def tower_features(
    tower: Any, paths: list[str], image_root: Path, image_format: ImageFormat, cache: Path
) -> dict[str, Tensor]:
    """Hidden states before the merger by path, bf16 [N, D] each; from the cache where it holds them.

    The cache is valid for one tower: its key is the hash of the tower's weights and the image size.
    Raises ValueError for a tower that takes images of any size (batches are of one size here).
    """
    if not paths:
        return {}
    side = image_format.square_side
    if side is None:
        raise ValueError("Cached features need images of one size: set the recipe's image_side.")
    file = cache / f"features-{_fingerprint(tower, side)}.safetensors"
    stored = load_file(file) if file.exists() else {}
    missing = [path for path in paths if path not in stored]
    for start in track(range(0, len(missing), BATCH), "Vision features", disable=not missing):
        chunk = missing[start : start + BATCH]
        hidden = _encode(tower, [image_root / path for path in chunk], side, image_format.patch_size)
        stored.update(zip(chunk, hidden.unbind(0), strict=True))
        if start + BATCH >= len(missing) or start // BATCH % SAVE_EVERY == SAVE_EVERY - 1:
            _store(stored, file)
    return {path: stored[path] for path in paths}


def _store(features: dict[str, Tensor], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    save_file({path: tensor.contiguous() for path, tensor in features.items()}, partial)
    partial.replace(file)


@torch.inference_mode()
def _encode(tower: Any, files: list[Path], side: int, patch_size: int) -> Tensor:
    pixels = torch.stack([torch.tensor(squash(decode_image(file.read_bytes()), side)) for file in files])
    weight = next(tower.parameters())
    patches = square_patches(pixels, patch_size).to(weight.device, weight.dtype)
    grid = (side // patch_size, side // patch_size)
    return tower_forward(tower, patches, grid).to("cpu", torch.bfloat16)


def _fingerprint(tower: Any, side: int) -> str:
    digest = hashlib.sha256(str(side).encode())
    for name, tensor in sorted(tower.state_dict().items()):
        if not name.startswith("merger"):
            digest.update(tensor.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()[:16]
