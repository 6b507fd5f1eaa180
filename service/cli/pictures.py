"""Pictures in a terminal: as it is able to, by kitty's or iTerm2's protocol, else as coloured half blocks."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image
from rich.color import Color
from rich.style import Style
from rich.text import Text

from service.cli.options import Pictures

if TYPE_CHECKING:
    from rich.console import Console

ROWS = 6  # lines of text that a picture takes
_CELL = 2  # a character is about twice as high as wide
_PIXELS = 160  # side of what is sent to terminals that draw real pictures
_CHUNK = 4096  # kitty takes its base64 in parts of this size
_MAX_PIXELS = 50_000_000


def choose(wanted: Pictures, console: Console, environment: Mapping[str, str] = os.environ) -> Pictures:
    """What this terminal shows: as was asked for, or the best that it is known to do."""
    if wanted is not Pictures.AUTO:
        return wanted
    if not console.is_terminal:
        return Pictures.NONE
    program = environment.get("TERM_PROGRAM", "")
    # Inside tmux or screen the terminal's own protocols do not come through.
    if not any(name in environment for name in ("TMUX", "STY")):
        if environment.get("TERM") == "xterm-kitty" or program in ("ghostty", "WezTerm"):
            return Pictures.KITTY
        if program == "iTerm.app":
            return Pictures.ITERM2
    return Pictures.BLOCKS if console.color_system in ("truecolor", "256") else Pictures.NONE


def open_thumbnail(data: bytes, side: int) -> Image.Image | None:
    """An image scaled to fit `side` pixels, on white; None for what cannot be read."""
    try:
        with Image.open(BytesIO(data)) as image:
            if image.width * image.height > _MAX_PIXELS:
                return None
            image.draft("RGB", (side, side))  # lets a large JPEG be decoded small
            image.thumbnail((side, side))
            shown = image.convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    ground = Image.new("RGBA", shown.size, "white")
    return Image.alpha_composite(ground, shown).convert("RGB")


def as_blocks(data: bytes) -> Text:
    """An image as `ROWS` lines of half blocks, two pixels a character; empty for what cannot be read."""
    picture = open_thumbnail(data, _CELL * ROWS)
    text = Text()
    if picture is None:
        return text
    width, height = picture.size
    pixels = picture.tobytes()

    def colour(x: int, y: int) -> Color | None:
        start = 3 * (y * width + x)
        return Color.from_rgb(*pixels[start : start + 3]) if y < height else None

    for top in range(0, height, _CELL):
        for x in range(width):
            upper, lower = colour(x, top), colour(x, top + 1)
            text.append("▀", Style(color=upper, bgcolor=lower))
        if top + _CELL < height:
            text.append("\n")
    return text


def as_kitty(data: bytes) -> str:
    """The escape sequences by which kitty draws an image that is `ROWS` lines high; "" for none."""
    encoded = _encoded(data)
    if encoded is None:
        return ""
    chunks = list(_chunks(encoded))
    parts = []
    for number, chunk in enumerate(chunks):
        more = int(number < len(chunks) - 1)
        control = f"a=T,f=100,r={ROWS},q=2,m={more}" if number == 0 else f"m={more}"
        parts.append(f"\033_G{control};{chunk}\033\\")
    return "".join(parts)


def as_iterm2(data: bytes) -> str:
    """The escape sequence by which iTerm2 draws an image that is `ROWS` lines high; "" for none."""
    encoded = _encoded(data)
    if encoded is None:
        return ""
    return f"\033]1337;File=inline=1;height={ROWS};preserveAspectRatio=1:{encoded}\a"


def _encoded(data: bytes) -> str | None:
    picture = open_thumbnail(data, _PIXELS)
    if picture is None:
        return None
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _chunks(encoded: str) -> Iterator[str]:
    for start in range(0, len(encoded), _CHUNK):
        yield encoded[start : start + _CHUNK]
