"""Whether the kernels compute rightly on this processor: asked once, of each variant that it has.

A variant is compiled on machines that cannot run it. Should one of them be wrong where it is first run,
answers would be nonsense and nothing else would tell. All is done as in earnest: by two threads, in both
dtypes, with every size of batch. It is compared with numpy's float64.
"""

from __future__ import annotations

import ctypes
import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.kernels.library import (
    ADDED,
    GATED,
    GROUP,
    PANEL,
    PLAIN,
    ROWS,
    TILE,
    Attention,
    DecoderWeights,
    Layer,
    Multiplication,
    Norm,
    Product,
    Step,
    Tiled,
    TiledMultiplication,
)

_MEMBERS, _COUNT = 2, 7  # a batch of seven is multiplied as four, two and one
_TOLERANCE = 1e-3  # of the largest result; a product rounds activations to 16 bits
_BRIEF_TOLERANCE = 1e-2  # bfloat16 has eight bits
Array = NDArray[Any]


def computes_rightly(found: ctypes.CDLL) -> bool:
    """Compare what the chosen variant computes with numpy's."""
    return (
        multiplies_rightly(found)
        and multiplies_tiles_rightly(found)
        and all(norms_rightly(found, wide) and attends_rightly(found, wide) for wide in (True, False))
        and steps_rightly(found)
    )


def multiplies_rightly(found: ctypes.CDLL) -> bool:
    """Compare a product with numpy's."""
    drawn = np.random.default_rng(0)
    product, wide, _kept = _product(drawn, 3 * ROWS, 3 * GROUP)
    rows = drawn.normal(size=(_COUNT, 3 * GROUP)).astype(np.float32)
    result = np.zeros((_COUNT, 3 * ROWS), np.float32)
    room = np.zeros(found.multiply_floats(product, _COUNT, _MEMBERS), np.float32)
    addresses = (array.ctypes.data for array in (rows, result, room))
    found.multiply_run(_MEMBERS, Multiplication(product, _COUNT, *addresses))
    return _near(result, rows.astype(np.float64) @ wide.T, _TOLERANCE)


def multiplies_tiles_rightly(found: ctypes.CDLL) -> bool:
    """Compare products in tiles, of each kind and with whole and broken tiles of rows, with numpy's."""
    drawn, counts, size = np.random.default_rng(0), (1, TILE + 3, PANEL + 5), 2 * PANEL
    weight, rows = (
        _stored(drawn.normal(size=(count, 3 * PANEL)).astype(np.float32), wide=False)
        for count in (size, max(counts))
    )
    bias = drawn.normal(size=size).astype(np.float32)
    tiles = np.ascontiguousarray(weight.reshape(2, 2, TILE, 3, TILE, 2).transpose(0, 3, 1, 4, 2, 5))
    exact = _restored(rows).astype(np.float64) @ _restored(weight).T
    cases = ((PLAIN, bias, exact + bias), (GATED, None, _gated(exact)), (ADDED, None, exact + 1))
    right = True
    for (kind, added, expected), count in itertools.product(cases, counts):
        result = _stored(np.ones((count, expected.shape[1]), np.float32), wide=kind == ADDED)
        address = None if added is None else added.ctypes.data
        product = Tiled(tiles.ctypes.data, address, size, 3 * PANEL, kind)
        found.tiles_run(_MEMBERS, TiledMultiplication(product, count, rows.ctypes.data, result.ctypes.data))
        right &= _near(_restored(result), expected[:count], _BRIEF_TOLERANCE)
    return right


def norms_rightly(found: ctypes.CDLL, wide: bool) -> bool:
    """Compare a changed stream and its norm with numpy's."""
    drawn = np.random.default_rng(0)
    hidden, change = drawn.normal(size=(2, 3, 48)).astype(np.float32)
    weight = drawn.normal(size=48).astype(np.float32)
    stored, normed = _stored(change, wide), _stored(np.zeros_like(hidden), wide)
    stream = hidden + _restored(stored)
    expected = _rms_norm(stream.astype(np.float64), weight)
    addresses = (array.ctypes.data for array in (hidden, stored, weight, normed))
    found.norm_run(_MEMBERS, Norm(3, 48, wide, 0.0, *addresses))
    return _near(hidden, stream, 1e-6) and _near(_restored(normed), expected, _tolerance(wide))


def attends_rightly(found: ctypes.CDLL, wide: bool) -> bool:
    """Compare attention within two sequences with numpy's."""
    drawn, lengths, size = np.random.default_rng(0), (40, 3), 16
    starts = np.cumsum([0, *lengths], dtype=np.int32)
    rows = int(starts[-1])
    states = _stored(drawn.normal(size=(rows, 4, size)).astype(np.float32), wide)  # two heads share a key
    turns = _turns(drawn, rows, size)
    mixed = _stored(np.zeros((rows, 2, size), np.float32), wide)
    expected = np.zeros((rows, 2, size))
    heads = _restored(states).astype(np.float64)
    turned = _turned(heads[:, :3], turns)
    for start, end in itertools.pairwise(starts):
        part = slice(start, end)
        expected[part] = _attention(turned[part, :2], turned[part, 2], heads[part, 3])
    work = Attention(2, 1, size, wide, rows, len(lengths), max(lengths))
    room = np.zeros(found.attention_floats(work, _MEMBERS), np.float32)
    work.starts, work.turns = starts.ctypes.data, turns.ctypes.data
    work.states, work.mixed, work.workspace = (array.ctypes.data for array in (states, mixed, room))
    found.attention_run(_MEMBERS, work)
    return _near(_restored(mixed), expected, _tolerance(wide))


def steps_rightly(found: ctypes.CDLL) -> bool:
    """Compare a decode step of one layer, for two slots with a filled position each, with numpy's."""
    drawn, hidden_size, inner, size = np.random.default_rng(0), 64, 64, 16
    shapes = (
        (4 * size, hidden_size),
        (hidden_size, 2 * size),
        (2 * inner, hidden_size),
        (hidden_size, inner),
    )
    products, wides, kept = zip(*(_product(drawn, *shape, scale=0.02) for shape in shapes), strict=True)
    norms = drawn.normal(size=(3, hidden_size)).astype(np.float32)
    layer = Layer(norms[0].ctypes.data, norms[1].ctypes.data, *products)
    sizes = (1, hidden_size, inner, 2, 1, size)
    decoder = DecoderWeights(ctypes.pointer(layer), norms[2].ctypes.data, *sizes, 0.0)
    states = drawn.normal(size=(2, 2, 3, size)).astype(np.float32)  # [keys or values, slots, capacity, size]
    hidden, turns = drawn.normal(size=(2, hidden_size)).astype(np.float32), _turns(drawn, 2, size)
    slots, lengths = np.array([1, 0], np.int32), np.array([1, 1], np.int32)

    stream = hidden.astype(np.float64)
    qkv = (_rms_norm(stream, norms[0]) @ wides[0].T).reshape(2, 4, size)
    turned = _turned(qkv[:, :3], turns)
    for row, slot in enumerate(slots):
        keys = np.stack([states[0, slot, 0].astype(np.float64), turned[row, 2]])
        values = np.stack([states[1, slot, 0].astype(np.float64), qkv[row, 3]])
        query = np.stack([turned[row, :2]] * 2)  # at both positions, of which the second is the step's
        stream[row] += _attention(query, keys, values)[1].reshape(-1) @ wides[1].T
    gates, ups = np.split(_rms_norm(stream, norms[1]) @ wides[2].T, 2, axis=1)
    stream += (gates / (1 + np.exp(-gates)) * ups) @ wides[3].T
    expected = _rms_norm(stream, norms[2])

    room = np.zeros(found.step_floats(decoder, 2, 3, _MEMBERS), np.float32)
    addresses = (array.ctypes.data for array in (hidden, turns, slots, lengths, states))
    strides = (states.size, states[0].size, states[0, 0].size)
    found.step_run(_MEMBERS, Step(ctypes.pointer(decoder), 2, 3, 1, *addresses, *strides, room.ctypes.data))
    del kept  # until here the weights had to live
    return _near(hidden, expected, _TOLERANCE)


def _product(
    drawn: np.random.Generator, rows: int, columns: int, scale: float = 1.0
) -> tuple[Product, Array, Array]:
    """A product without a bias, its weight as float64 `[rows, columns]`, and the memory that it is in."""
    flat = drawn.integers(-127, 128, (rows, -(-columns // GROUP) * GROUP)).astype(np.int8)
    flat[:, columns:] = 0
    weights = flat.reshape(rows // ROWS, ROWS, -1, GROUP).transpose(0, 2, 1, 3)
    scales = (drawn.uniform(0.5, 2, weights.shape[:3]) * scale).astype(np.float32)
    pairs = weights.reshape(*weights.shape[:3], GROUP // 2, 2).swapaxes(2, 3)  # as they are stored
    parts = [scales.view(np.uint8), pairs.copy().view(np.uint8).reshape(*weights.shape[:2], -1)]
    blocks = np.ascontiguousarray(np.concatenate(parts, axis=-1))
    wide = (weights.astype(np.float64) * scales[..., None]).transpose(0, 2, 1, 3).reshape(rows, -1)
    return Product(blocks.ctypes.data, None, rows, columns), wide[:, :columns], blocks


def _rms_norm(stream: Array, weight: Array) -> Array:
    return stream / np.sqrt((stream**2).mean(1, keepdims=True)) * weight


def _gated(results: Array) -> Array:
    """Each panel's ups, `[rows, panels * PANEL]`, with SiLU of its gates as their factors."""
    panels = results.reshape(len(results), -1, 2, TILE)
    gates, ups = panels[:, :, 0], panels[:, :, 1]
    return np.asarray((gates / (1 + np.exp(-gates)) * ups).reshape(len(results), -1))


def _turns(drawn: np.random.Generator, rows: int, size: int) -> Array:
    angles = drawn.uniform(0, 6, (rows, size // 2))
    return np.stack([np.cos(angles), np.sin(angles)], -1).reshape(rows, size).astype(np.float32)


def _turned(states: Array, turns: Array) -> Array:
    """Pairs of neighbours of `[rows, heads, size]` as complex numbers, turned."""
    pairs = states[..., ::2] + 1j * states[..., 1::2]
    result = pairs * (turns[:, None, ::2] + 1j * turns[:, None, 1::2])
    return np.stack([result.real, result.imag], -1).reshape(states.shape)


def _attention(query: Array, key: Array, value: Array) -> Array:
    """Causal attention of `[rows, heads, size]` to one shared key head, `[rows, size]`."""
    scores = np.einsum("qhd,kd->hqk", query, key) / np.sqrt(key.shape[1])
    weights = np.tril(np.exp(scores))
    return np.asarray(np.einsum("hqk,kd->qhd", weights / weights.sum(-1, keepdims=True), value))


def _stored(values: Array, wide: bool) -> Array:
    """As float32, or as the bits of bfloat16."""
    return values if wide else (values.view(np.uint32) >> 16).astype(np.uint16)


def _restored(values: Array) -> Array:
    if values.dtype == np.float32:
        return values
    return (values.astype(np.uint32) << 16).view(np.float32)


def _tolerance(wide: bool) -> float:
    return _TOLERANCE if wide else _BRIEF_TOLERANCE


def _near(result: Array, expected: Array, tolerance: float) -> bool:
    with np.errstate(invalid="ignore"):  # what is not finite is not near
        return bool(np.abs(result - expected).max() < tolerance * np.abs(expected).max())
