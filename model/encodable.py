"""What a caller in this process may hand in to be embedded: texts, pictures in memory, files, and both."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image as PillowImage

from model.types import Item

Encodable = str | Item | PillowImage.Image | Path | dict[str, Any]
"""A text; an image, in memory or as a file; or both together: an `Item`, or a dict of `text` and `image`."""


def as_item(given: Encodable) -> Item:
    """An input as the engine takes it. Raises TypeError for what is none, OSError for an unreadable file."""
    match given:
        case Item():
            return given
        case str():
            return Item(given)
        case Path() | PillowImage.Image():
            return Item(image=_encoded(given))
        case dict():
            image = given.get("image")
            return Item(given.get("text") or None, None if image is None else _encoded(image))
    raise TypeError(f"A {type(given).__name__} cannot be embedded; give a text, an image, or a dict of both.")


def _encoded(image: PillowImage.Image | Path | bytes) -> bytes:
    if isinstance(image, bytes):
        return image
    if isinstance(image, Path):
        return image.read_bytes()
    if not isinstance(image, PillowImage.Image):
        raise TypeError(f"A {type(image).__name__} is no image; give one of Pillow's, a path or bytes.")
    buffer = BytesIO()
    (image if image.mode in ("RGB", "RGBA", "L") else image.convert("RGB")).save(buffer, "PNG")
    return buffer.getvalue()
