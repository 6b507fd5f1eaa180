"""Files given on the command line, as the server takes them."""

from __future__ import annotations

import base64
import mimetypes
from pathlib import Path


def image_reference(path: Path) -> str:
    """An image file as a data URI. Raises OSError if it cannot be read."""
    declared = mimetypes.guess_type(path.name)[0] or ""
    kind = declared if declared.startswith("image/") else "image/png"  # the server goes by the bytes
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def item(text: str | None, image: Path | None) -> dict[str, str]:
    """An item of a text, an image file, or both. Raises OSError if the file cannot be read."""
    parts: dict[str, str] = {}
    if text is not None:
        parts["text"] = text
    if image is not None:
        parts["image"] = image_reference(image)
    return parts
