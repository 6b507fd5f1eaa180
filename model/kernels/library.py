"""The compiled kernels as ctypes finds them: the structures of `kernels.h`, and what computes here."""

from __future__ import annotations

import ctypes
import functools
import importlib.machinery
import logging
from ctypes import POINTER, Structure, c_char_p, c_float, c_int, c_int32, c_int64, c_size_t, c_void_p
from pathlib import Path
from typing import ClassVar

import torch

_log = logging.getLogger(__name__)


class Product(Structure):
    """A weight of int8 in blocks, and its bias."""

    _fields_: ClassVar = [
        ("blocks", c_void_p),
        ("bias", c_void_p),
        ("rows", c_int32),
        ("columns", c_int32),
    ]


class Layer(Structure):
    """A decoder layer's norms and products."""

    _fields_: ClassVar = [
        ("attention_norm", c_void_p),
        ("mlp_norm", c_void_p),
        ("qkv", Product),
        ("out", Product),
        ("gate_up", Product),
        ("down", Product),
    ]


class DecoderWeights(Structure):
    """All layers, the last norm, and sizes."""

    _fields_: ClassVar = [
        ("layers", POINTER(Layer)),
        ("norm", c_void_p),
        ("layer_count", c_int32),
        ("hidden", c_int32),
        ("intermediate", c_int32),
        ("heads", c_int32),
        ("kv_heads", c_int32),
        ("head_dim", c_int32),
        ("epsilon", c_float),
    ]


class Step(Structure):
    """One token for each of some slots."""

    _fields_: ClassVar = [
        ("decoder", POINTER(DecoderWeights)),
        ("count", c_int32),
        ("capacity", c_int32),
        ("float_states", c_int32),
        ("hidden", c_void_p),
        ("turns", c_void_p),
        ("slots", c_void_p),
        ("lengths", c_void_p),
        ("states", c_void_p),
        ("layer_stride", c_int64),
        ("kind_stride", c_int64),
        ("slot_stride", c_int64),
        ("workspace", c_void_p),
    ]


class Multiplication(Structure):
    """A product with some rows of activations."""

    _fields_: ClassVar = [
        ("product", Product),
        ("count", c_int32),
        ("rows", c_void_p),
        ("result", c_void_p),
        ("workspace", c_void_p),
    ]


class Norm(Structure):
    """A change of the residual stream, and its norm."""

    _fields_: ClassVar = [
        ("rows", c_int32),
        ("size", c_int32),
        ("float_states", c_int32),
        ("epsilon", c_float),
        ("hidden", c_void_p),
        ("change", c_void_p),
        ("weight", c_void_p),
        ("normed", c_void_p),
    ]


class Attention(Structure):
    """Causal attention within some sequences."""

    _fields_: ClassVar = [
        ("heads", c_int32),
        ("kv_heads", c_int32),
        ("head_dim", c_int32),
        ("float_states", c_int32),
        ("rows", c_int32),
        ("count", c_int32),
        ("longest", c_int32),
        ("starts", c_void_p),
        ("turns", c_void_p),
        ("states", c_void_p),
        ("mixed", c_void_p),
        ("workspace", c_void_p),
    ]


class Tiled(Structure):
    """A weight of bfloat16 in tiles, its bias, and what its result is."""

    _fields_: ClassVar = [
        ("tiles", c_void_p),
        ("bias", c_void_p),
        ("rows", c_int32),
        ("columns", c_int32),
        ("kind", c_int32),
    ]


class TiledMultiplication(Structure):
    """A product of bfloat16 with some rows of activations."""

    _fields_: ClassVar = [
        ("product", Tiled),
        ("count", c_int32),
        ("rows", c_void_p),
        ("result", c_void_p),
    ]


class TiledLayer(Structure):
    """A decoder layer's norms and products, in tiles."""

    _fields_: ClassVar = [
        ("attention_norm", c_void_p),
        ("mlp_norm", c_void_p),
        ("qkv", Tiled),
        ("out", Tiled),
        ("gated", Tiled),
        ("down", Tiled),
    ]


class Pass(Structure):
    """All layers for some sequences."""

    _fields_: ClassVar = [
        ("layers", POINTER(TiledLayer)),
        ("layer_count", c_int32),
        ("hidden_size", c_int32),
        ("epsilon", c_float),
        ("attention", Attention),
        ("hidden", c_void_p),
        ("normed", c_void_p),
        ("gated", c_void_p),
    ]


GROUP = 64  # weights of a row that share a scale
ROWS = 16  # rows whose weights lie together
TILE = 16  # rows of a tile, and pairs of its columns
PANEL = 2 * TILE  # rows of a weight in tiles that meet activations together; all as in kernels.h
PLAIN, GATED, ADDED = range(3)  # kinds of `Tiled`
TILES = "avx512amx"  # the variant that has them in hardware
VARIANTS = (TILES, "avx512vnni", "avx512", "avx2", "baseline")  # the best first

#: Bytes of all structures together: kernels that an older Solomon compiled would take them for others.
_BLOCK_BYTES = 4 * ROWS + ROWS * GROUP  # scales, and weights
_STRUCTURES = (
    *(Product, Layer, DecoderWeights, Step, Multiplication, Norm, Attention),
    *(Tiled, TiledMultiplication, TiledLayer, Pass),
)
_LAYOUT = _BLOCK_BYTES + sum(ctypes.sizeof(structure) for structure in _STRUCTURES)


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels; None where there are none, others than this version's, or none that is right."""
    folder = Path(__file__).parent
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        if (path := folder / f"_kernels{suffix}").is_file():
            try:
                found = _declared(ctypes.CDLL(str(path)))
            except (OSError, AttributeError):  # of another platform, C library, or version of Solomon
                return None
            return _checked(found) if found.kernels_layout() == _LAYOUT else None
    return None


def _checked(found: ctypes.CDLL) -> ctypes.CDLL | None:
    """With the best variant that computes rightly on this processor chosen."""
    from model.kernels.checking import computes_rightly

    for name in VARIANTS:
        if found.kernels_choose(name.encode()):
            if computes_rightly(found):
                return found
            _log.error("the compiled kernels for %s give wrong results here, and are not used", name)
    return None


def _declared(found: ctypes.CDLL) -> ctypes.CDLL:
    found.step_floats.argtypes = [POINTER(DecoderWeights), c_int, c_int, c_int]
    found.step_floats.restype = c_size_t
    found.multiply_floats.argtypes = [POINTER(Product), c_int, c_int]
    found.multiply_floats.restype = c_size_t
    found.attention_floats.argtypes, found.attention_floats.restype = [POINTER(Attention), c_int], c_size_t
    runs = {"step": Step, "multiply": Multiplication, "norm": Norm, "attention": Attention}
    runs |= {"tiles": TiledMultiplication, "pass": Pass}
    for name, work in runs.items():
        run = getattr(found, f"{name}_run")
        run.argtypes, run.restype = [c_int, POINTER(work)], None
    found.team_use.argtypes, found.team_use.restype = [c_void_p] * 3, None
    found.team_use(*_openmp())
    found.kernels_layout.argtypes, found.kernels_layout.restype = [], c_size_t
    found.kernels_name.argtypes, found.kernels_name.restype = [], c_char_p
    found.kernels_choose.argtypes, found.kernels_choose.restype = [c_char_p], c_int
    return found


def _openmp() -> tuple[c_void_p, ...]:
    """The functions of the OpenMP that torch computes with; null ones where it has other threads.

    Names are looked up as torch's own are: in what the whole process sees, then in what torch depends on.
    """
    for path in (None, Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"):
        try:
            openmp = ctypes.CDLL(None if path is None else str(path))
            functions = (openmp.GOMP_parallel, openmp.omp_get_thread_num, openmp.omp_get_num_threads)
        except (OSError, AttributeError):
            continue
        return tuple(ctypes.cast(function, c_void_p) for function in functions)
    _log.warning("torch's OpenMP was not found: the compiled kernels use one thread")
    return (c_void_p(), c_void_p(), c_void_p())


def instruction_set() -> str | None:
    """What the kernels compute with here, one of `VARIANTS`; None where they are not compiled."""
    found = library()
    return None if found is None else found.kernels_name().decode()


def use_instruction_set(name: str) -> None:
    """Compute with another of the variants. Raises ValueError where the CPU or the build lacks it."""
    found = library()
    if found is None or not found.kernels_choose(name.encode()):
        raise ValueError(f"The compiled kernels have no {name!r} for this CPU; leave the choice to them.")
