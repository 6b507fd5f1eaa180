"""What the tests send: queries of both kinds, and pictures."""

from __future__ import annotations

import base64
import io
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

QUERIES = Path(str(files("service.demo") / "queries"))
DEMO_PICTURES = Path(str(files("service.demo") / "images"))

# General questions, whose answer is not in them: thinking first pays.
QUESTIONS = (
    "What is the capital of Japan?",
    "Which country's capital is Nairobi?",
    "What is the capital city of Italy?",
    "Of which country is Ottawa the capital?",
)
# Captions, which say all there is to say: the vector can be had at once.
CAPTIONS = (
    "A brown dog runs across a green lawn.",
    "Two children in red coats play in the snow.",
    "A man in a blue shirt rides a bicycle down the street.",
    "A woman sits on a bench and reads a book.",
)


def data_uri(data: bytes, media_type: str = "image/png") -> str:
    """Bytes as an `image` of a request carries them."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"


def picture(name: str) -> str:
    """A picture of the demo corpus as a data URI."""
    return data_uri((DEMO_PICTURES / f"{name}.png").read_bytes())


def noise(seed: int, side: int = 64, kind: str = "PNG") -> bytes:
    """An encoded image that no cache has seen."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()
