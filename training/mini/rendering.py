"""Pictures of the mini data set: written whole or not at all, below the image root."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from PIL import Image

from model.installing import install_command


def write_image(image_root: Path, name: str, content: bytes) -> str:
    """Write an encoded picture atomically and return its name: an interruption leaves no half file.

    One that is there already, the same in every byte, is left as it is.
    """
    target = image_root / name
    if target.exists() and target.read_bytes() == content:
        return name
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    partial.write_bytes(content)
    partial.replace(target)
    return name


def save_png(image_root: Path, name: str, picture: Image.Image) -> str:
    """Encode and write a picture, as `write_image` does."""
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return write_image(image_root, name, buffer.getvalue())


def on_white(content: bytes | Path) -> Image.Image:
    """An encoded picture in RGB; what is transparent becomes white."""
    source = content.read_bytes() if isinstance(content, Path) else content
    with Image.open(BytesIO(source)) as picture:
        layer = picture.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(white, layer).convert("RGB")


def svg_on_white(path: Path, width: int) -> Image.Image:
    """An SVG drawing at `width` pixels. Raises ValueError where resvg cannot draw it, or is not installed."""
    try:
        from resvg_py import svg_to_bytes
    except ImportError as error:
        raise ValueError(f"Drawing SVG files needs resvg-py: {install_command('train')}.") from error
    return on_white(svg_to_bytes(svg_path=str(path), width=width, skip_system_fonts=True))
