"""Vectors on their way out: shortened, scaled, encoded."""

from __future__ import annotations

import base64
from typing import Literal

import numpy as np

from model.types import Vector
from service import problems
from service.problems import field_problem


def check_dimensions(wanted: int | None, available: int) -> int:
    """How many dimensions to return. Raises a `Problem` when more are wanted than the model has."""
    if wanted is None:
        return available
    if not 1 <= wanted <= available:
        mend = f"Send 1 to {available}, or leave it out."
        message = f"The model's vectors have {available} dimensions."
        raise field_problem(problems.INVALID_INPUT, "dimensions", message, mend)
    return wanted


def shorten(vector: Vector, dimensions: int) -> Vector:
    """The first `dimensions` of a unit vector [D], scaled to unit length again."""
    if dimensions == len(vector):
        return vector
    head = vector[:dimensions]
    norm = float(np.linalg.norm(head))
    return (head / norm).astype(np.float32) if norm > 0 else head


def encode(vector: Vector, encoding: Literal["float", "base64"]) -> list[float] | str:
    """A vector as JSON numbers, or as base64 of little-endian float32 bytes."""
    if encoding == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
    numbers: list[float] = vector.tolist()
    return numbers
