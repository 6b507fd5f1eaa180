"""Whether the kernels compute rightly on this processor: asked once, of each variant that it has.

A variant is compiled on machines that cannot run it. Should one of them be wrong where it is first run,
answers would be nonsense and nothing else would tell.
"""

from __future__ import annotations

import ctypes
import itertools

import numpy as np
from numpy.typing import NDArray

from model.kernels.library import GROUP, ROWS, Attention, Multiplication, Norm, Product

_OUT, _COUNT, _GROUPS = 3 * ROWS, 3, 3
_TOLERANCE = 1e-3  # of the largest result; activations are rounded to 16 bits


def computes_rightly(found: ctypes.CDLL) -> bool:
    """Compare a product, a norm and attention by the chosen variant with numpy's."""
    return multiplies_rightly(found) and norms_rightly(found) and attends_rightly(found)


def multiplies_rightly(found: ctypes.CDLL) -> bool:
    """Compare a product of the chosen variant with numpy's."""
    drawn = np.random.default_rng(0)
    columns = _GROUPS * GROUP
    weights = drawn.integers(-127, 128, (_OUT // ROWS, _GROUPS, ROWS, GROUP)).astype(np.int8)
    scales = drawn.uniform(0.5, 2, (_OUT // ROWS, _GROUPS, ROWS)).astype(np.float32)
    pairs = weights.reshape(*weights.shape[:3], GROUP // 2, 2).swapaxes(2, 3)  # as they are stored
    parts = [scales.view(np.uint8), pairs.copy().view(np.uint8).reshape(*weights.shape[:2], -1)]
    blocks = np.ascontiguousarray(np.concatenate(parts, axis=-1))
    rows = drawn.normal(size=(_COUNT, columns)).astype(np.float32)
    bias = drawn.normal(size=_OUT).astype(np.float32)
    result = np.zeros((_COUNT, _OUT), np.float32)
    product = Product(blocks.ctypes.data, bias.ctypes.data, _OUT, columns)
    room = np.zeros(found.multiply_floats(product, _COUNT, 1), np.float32)
    addresses = (array.ctypes.data for array in (rows, result, room))
    found.multiply_run(1, Multiplication(product, _COUNT, *addresses))
    wide = (weights.astype(np.float64) * scales[..., None]).transpose(0, 2, 1, 3).reshape(_OUT, columns)
    expected = rows.astype(np.float64) @ wide.T + bias
    return _near(result, expected)


def norms_rightly(found: ctypes.CDLL) -> bool:
    """Compare a norm with numpy's."""
    drawn = np.random.default_rng(0)
    hidden, weight = (drawn.normal(size=size).astype(np.float32) for size in ((3, 48), (48,)))
    wide = hidden.astype(np.float64)
    expected = wide / np.sqrt((wide**2).mean(1, keepdims=True)) * weight
    normed = np.zeros_like(hidden)
    found.norm_run(1, Norm(3, 48, 1, 0.0, hidden.ctypes.data, None, weight.ctypes.data, normed.ctypes.data))
    return _near(normed, expected)


def attends_rightly(found: ctypes.CDLL) -> bool:
    """Compare attention within two sequences, none of whose positions are turned, with numpy's."""
    drawn, lengths, size = np.random.default_rng(0), (40, 3), 16
    starts = np.cumsum([0, *lengths], dtype=np.int32)
    rows = int(starts[-1])
    states = drawn.normal(size=(rows, 4, size)).astype(np.float32)  # of two heads that share a key
    turns = np.tile(np.array([1, 0], np.float32), (rows, size // 2))
    mixed = np.zeros((rows, 2, size), np.float32)
    expected = np.zeros((rows, 2, size))
    for start, end in itertools.pairwise(starts):
        query, key, value = states[start:end, :2], states[start:end, 2], states[start:end, 3]
        scores = np.einsum("qhd,kd->hqk", query.astype(np.float64), key) / np.sqrt(size)
        weights = np.tril(np.exp(scores))
        weights /= weights.sum(-1, keepdims=True)
        expected[start:end] = np.einsum("hqk,kd->qhd", weights, value)
    work = Attention(2, 1, size, 1, rows, len(lengths), max(lengths))
    work.starts, work.turns = starts.ctypes.data, turns.ctypes.data
    room = np.zeros(found.attention_floats(work, 1), np.float32)
    work.states, work.mixed, work.workspace = (array.ctypes.data for array in (states, mixed, room))
    found.attention_run(1, work)
    return _near(mixed, expected)


def _near(result: NDArray[np.float32], expected: NDArray[np.float64]) -> bool:
    return bool(np.abs(result - expected).max() < _TOLERANCE * np.abs(expected).max())
