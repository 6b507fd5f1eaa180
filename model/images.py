"""Encoded image bytes to patches for the vision tower, with hostile files refused before decoding."""

from __future__ import annotations

import hashlib
import io
import struct
import threading
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from model.errors import ImageTooLarge, InputError, NotAnImage

ACCEPTED_FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
_ACCEPTED_NAMES = "JPEG, PNG, WebP or GIF"
_MERGE = 2
_FRAMES = 2  # Qwen2-VL's temporal patch: a still image is shown twice
_MAX_ASPECT = 200  # Qwen2-VL's own limit on long side / short side

# Decoding takes up to 24 bytes a pixel for a moment: images above this size go one at a time.
_LARGE_PIXELS = 4_000_000
_large_image = threading.Lock()

# What Pillow's decoders raise on damaged files, beside OSError.
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error)


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What is refused before decoding: bytes of the file, pixels of a side, pixels of the whole."""

    max_bytes: int = 20 * 2**20
    max_side: int = 16_384
    max_pixels: int = 50_000_000


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """How a checkpoint sees images; stored in the checkpoint.

    `square_side`: every image is squashed to a square of this many pixels (a multiple of what a token
    covers). None: Qwen2-VL's own dynamic resolution, the aspect kept, between `min_pixels` and
    `max_pixels`. `patch_size`: pixels a side of a patch; a token covers two by two patches.
    """

    square_side: int | None = 112
    min_pixels: int = 56 * 56
    max_pixels: int = 28 * 28 * 640
    patch_size: int = 14

    def __post_init__(self) -> None:
        if self.square_side is not None and (self.square_side <= 0 or self.square_side % self.token_side):
            raise ValueError(
                f"square_side must be a positive multiple of {self.token_side}, not {self.square_side}."
            )
        if not 0 < self.min_pixels <= self.max_pixels:
            raise ValueError("min_pixels must be positive and at most max_pixels.")

    @property
    def token_side(self) -> int:
        """Pixels a side that one image token covers."""
        return self.patch_size * _MERGE


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """An image ready for the vision tower.

    `patches` is `[N, 6 * patch_size ** 2]` float32 in the order of `Qwen2VLImageProcessorPil`; `grid_thw` is
    (1, rows, columns) in patches; `sha256` is that of the encoded bytes, in hex.
    """

    patches: Tensor = field(repr=False)
    grid_thw: tuple[int, int, int]
    sha256: str

    @property
    def token_count(self) -> int:
        """How many tokens the image takes in the prompt."""
        return self.patches.shape[0] // (_MERGE * _MERGE)


def prepare_image(
    data: bytes,
    image_format: ImageFormat,
    limits: ImageLimits = ImageLimits(),
) -> PreparedImage:
    """Decode and cut into patches. Raises `NotAnImage`, `ImageTooLarge`, or `InputError` for its shape."""
    sha256 = hashlib.sha256(data).hexdigest()
    image = decode_image(data, limits)
    if image_format.square_side is not None:
        side = image_format.square_side
        patches = square_patches(squash(image, side)[None], image_format.patch_size)[0]
        count = side // image_format.patch_size
        return PreparedImage(patches, (1, count, count), sha256)
    if max(image.size) > _MAX_ASPECT * min(image.size):
        raise InputError(
            "image",
            "aspect_ratio",
            f"The image is {image.width} x {image.height} pixels, more than {_MAX_ASPECT} times as long as "
            "wide.",
            "Crop it.",
        )
    processor = _dynamic_processor(image_format)
    processed = processor(images=[image], return_tensors="pt")
    _, rows, columns = processed["image_grid_thw"][0].tolist()
    return PreparedImage(processed["pixel_values"].float(), (1, rows, columns), sha256)


def decode_image(data: bytes, limits: ImageLimits = ImageLimits()) -> Image.Image:
    """The first frame as RGB: upright by its EXIF orientation, transparency over white.

    Size limits are checked from the header, before any pixel is decoded. Raises `NotAnImage` for bytes
    that are not an accepted image or are cut short, and `ImageTooLarge` past a limit.
    """
    if len(data) > limits.max_bytes:
        raise ImageTooLarge(
            "image",
            "image_bytes",
            f"The image has {len(data):,} bytes and the limit is {limits.max_bytes:,}.",
            "Send a smaller one.",
        )
    try:
        image = Image.open(io.BytesIO(data), formats=ACCEPTED_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels("more pixels than can be decoded safely", limits) from error
    except (UnidentifiedImageError, *_DECODE_ERRORS) as error:
        raise NotAnImage(
            "image",
            "not_an_image",
            f"The image's bytes are not a {_ACCEPTED_NAMES} image, or are cut short.",
            "Send a whole file of one of these kinds.",
        ) from error
    width, height = image.size
    if max(width, height) > limits.max_side or width * height > limits.max_pixels:
        raise _too_many_pixels(f"{width:,} x {height:,} pixels", limits)
    try:
        with _large_image if width * height > _LARGE_PIXELS else nullcontext():
            image.load()
            return _as_rgb(_upright(image))
    except _DECODE_ERRORS as error:
        raise NotAnImage(
            "image",
            "image_damaged",
            f"The {image.format} image is cut short or damaged ({error}).",
            "Send the whole file.",
        ) from error


def squash(image: Image.Image, side: int) -> npt.NDArray[np.uint8]:
    """An RGB image resized to a square, its aspect given up: `[side, side, 3]` uint8."""
    resized = image.resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(resized, dtype=np.uint8)


def square_patches(images: npt.NDArray[np.uint8] | Tensor, patch_size: int = 14) -> Tensor:
    """Normalised patches of many square images at once: `[B, S, S, 3]` uint8 -> `[B, N, C]` float32.

    C is 6 * patch_size ** 2: three channels, two frames.

    Same arithmetic and order as `Qwen2VLImageProcessorPil`: merge windows of 2 x 2 patches row by row,
    within a patch channel, frame, row, column.
    """
    pixels = torch.as_tensor(np.array(images) if isinstance(images, np.ndarray) else images)
    batch, side = pixels.shape[:2]
    mean = torch.tensor(OPENAI_CLIP_MEAN, device=pixels.device)
    std = torch.tensor(OPENAI_CLIP_STD, device=pixels.device)
    normalised = (pixels.float() * (1 / 255) - mean) / std
    windows = side // (patch_size * _MERGE)
    blocks = normalised.view(batch, windows, _MERGE, patch_size, windows, _MERGE, patch_size, 3)
    # -> [B, window row, window column, row in window, column in window, channel, patch row, patch column]
    blocks = blocks.permute(0, 1, 4, 2, 5, 7, 3, 6)
    frames = blocks.unsqueeze(6).expand(*blocks.shape[:6], _FRAMES, *blocks.shape[6:])
    return frames.reshape(batch, (side // patch_size) ** 2, 3 * _FRAMES * patch_size * patch_size)


@lru_cache(maxsize=8)
def _dynamic_processor(image_format: ImageFormat) -> Qwen2VLImageProcessorPil:
    return Qwen2VLImageProcessorPil(
        min_pixels=image_format.min_pixels,
        max_pixels=image_format.max_pixels,
        patch_size=image_format.patch_size,
    )


def _too_many_pixels(size: str, limits: ImageLimits) -> ImageTooLarge:
    return ImageTooLarge(
        "image",
        "image_pixels",
        f"The image has {size}; the limits are {limits.max_side:,} a side and {limits.max_pixels:,} in all.",
        "Scale it down.",
    )


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF orientation says; unreadable EXIF data is no reason to refuse the picture."""
    with suppress(*_DECODE_ERRORS, KeyError, TypeError, AttributeError):
        ImageOps.exif_transpose(image, in_place=True)
    return image


def _as_rgb(image: Image.Image) -> Image.Image:
    """Any mode of the accepted formats as RGB."""
    if image.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion would clip it to white
        grey = np.clip(np.asarray(image), 0, 65535) >> 8
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")
