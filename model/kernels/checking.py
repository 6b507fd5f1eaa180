"""Whether the kernels multiply rightly on this processor: asked once, of each variant that it has.

A variant is compiled on machines that cannot run it. Should one of them be wrong where it is first run,
answers would be nonsense and nothing else would tell.
"""

from __future__ import annotations

import ctypes

import numpy as np

from model.kernels.library import GROUP, ROWS, Multiplication, Product

_OUT, _COUNT, _GROUPS = 3 * ROWS, 3, 3
_TOLERANCE = 1e-3  # of the largest result; activations are rounded to 16 bits


def multiplies_rightly(found: ctypes.CDLL) -> bool:
    """Compare a product of the chosen variant with numpy's."""
    drawn = np.random.default_rng(0)
    columns = _GROUPS * GROUP
    weights = drawn.integers(-127, 128, (_OUT // ROWS, _GROUPS, ROWS, GROUP)).astype(np.int8)
    scales = drawn.uniform(0.5, 2, (_OUT // ROWS, _GROUPS, ROWS)).astype(np.float32)
    parts = [scales.view(np.uint8), weights.view(np.uint8).reshape(*weights.shape[:2], -1)]
    blocks = np.ascontiguousarray(np.concatenate(parts, axis=-1))
    rows = drawn.normal(size=(_COUNT, columns)).astype(np.float32)
    bias = drawn.normal(size=_OUT).astype(np.float32)
    result = np.zeros((_COUNT, _OUT), np.float32)
    product = Product(blocks.ctypes.data, bias.ctypes.data, _OUT, columns)
    room = np.zeros(found.multiply_floats(product, _COUNT, 1), np.float32)
    addresses = (array.ctypes.data for array in (rows, result, room))
    team = found.team_new(1)
    found.multiply_run(team, Multiplication(product, _COUNT, *addresses))
    found.team_free(team)
    wide = (weights * scales[..., None]).transpose(0, 2, 1, 3).reshape(_OUT, columns)
    expected = rows.astype(np.float64) @ wide.T + bias
    return bool(np.abs(result - expected).max() < _TOLERANCE * np.abs(expected).max())
