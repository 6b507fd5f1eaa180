"""Vectors on their way out (shortened, scaled, encoded) and in (decoded, checked)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Literal

import numpy as np

from model.types import Vector
from service import problems
from service.problems import Problem, field_problem

# bfloat16 keeps a unit vector's length to about 0.004; what is further off was never scaled.
_LENGTH_SLACK = 0.01


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


def decode(given: Sequence[float] | str, dimensions: int, field: str) -> Vector:
    """A vector [D] of a request, from numbers or from base64 of little-endian float32 bytes.

    Raises a `Problem` that names `field` if it is malformed, has another length than `dimensions`, holds
    NaN or infinities, or is not of unit length.
    """
    if isinstance(given, str):
        try:
            data = base64.b64decode(given, validate=True)
        except (binascii.Error, ValueError):
            raise _refused(field, "The vector is not base64.", "Encode little-endian float32.") from None
        if len(data) != 4 * dimensions:
            message = f"The vector has {len(data)} bytes, and the collection's have {4 * dimensions}."
            raise _refused(field, message, f"Send {dimensions} float32 numbers.")
        vector = np.frombuffer(data, "<f4").astype(np.float32)
    else:
        vector = np.asarray(given, np.float32)
        if len(vector) != dimensions:
            message = f"The vector has {len(vector)} numbers, and the collection's have {dimensions}."
            raise _refused(field, message, f"Send {dimensions} numbers.")
    if not np.isfinite(vector).all():
        raise _refused(field, "The vector holds NaN or an infinity.", "Send finite float32 numbers.")
    length = float(np.linalg.norm(vector.astype(np.float64)))
    if abs(length - 1.0) > _LENGTH_SLACK:
        raise _refused(field, f"The vector has the length {length:.4g}.", "Scale it to length 1.")
    return vector


def _refused(field: str, message: str, mend: str) -> Problem:
    return field_problem(problems.INVALID_INPUT, field, message, mend)
