"""Which side of the split a thing falls on, decided by its content alone.

A photo, a caption group, a country or a question is held out of training by the hash of what it is, so
the same thing can never stand on two sides, whatever order or dataset it comes from.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum

DEVELOPMENT_PERCENT = 7
CALIBRATION_PERCENT = 3
HELD_OUT_PERCENT = DEVELOPMENT_PERCENT + CALIBRATION_PERCENT


class Split(StrEnum):
    """What a content is for: to train on, to score on, or to calibrate the routing threshold on."""

    TRAINING = "train"
    DEVELOPMENT = "eval"
    CALIBRATION = "calibration"


def content_hash(content: str | bytes) -> int:
    """A stable 64-bit number for a content."""
    data = content.encode() if isinstance(content, str) else content
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big")


def split_of(content: str | bytes) -> Split:
    """The one side that this content belongs to."""
    place = content_hash(content) % 100
    if place < DEVELOPMENT_PERCENT:
        return Split.DEVELOPMENT
    return Split.CALIBRATION if place < HELD_OUT_PERCENT else Split.TRAINING


def is_held_out(content: str | bytes) -> bool:
    """Whether this content is never trained on."""
    return split_of(content) is not Split.TRAINING
