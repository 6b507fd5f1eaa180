"""Which side of the split a thing falls on, decided by its content alone.

A photo, a caption group, a country or a question is held out of training by the hash of what it is, so
the same thing can never stand on both sides, whatever order or dataset it comes from.
"""

from __future__ import annotations

import hashlib

HELD_OUT_PERCENT = 10


def content_hash(content: str | bytes) -> int:
    """A stable 64-bit number for a content."""
    data = content.encode() if isinstance(content, str) else content
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big")


def is_held_out(content: str | bytes) -> bool:
    """Whether this content belongs to the development split, never to training."""
    return content_hash(content) % 100 < HELD_OUT_PERCENT
