"""What a search does around FAISS in compiled code (`index/compiled.c`), where a C compiler could make it.

FAISS reads megabytes through the processor's caches. What comes after it finds them empty, and in Python each
line waits for memory: at a million documents that was a quarter of what the search itself took.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.machinery
from ctypes import c_int32, c_int64, c_uint32, c_void_p
from pathlib import Path
from typing import Any

import numpy.typing as npt

_ARGUMENTS = {
    "record_checksum": ([c_int64, c_void_p, c_int64], c_uint32),
    "read_records": ([c_int32, c_int64, c_int64, *[c_void_p] * 4], c_int64),
    "exact_scores": ([c_int64, c_int64, c_int64, *[c_void_p] * 3], None),
    "near_cells": ([c_int64, c_int64, *[c_void_p] * 3, c_int64, *[c_void_p] * 4], None),
    "compiled_suits": ([], c_int32),
}


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled functions; None where there are none, or none for this processor."""
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        if (path := Path(__file__).with_name(f"_compiled{suffix}")).is_file():
            try:
                found = ctypes.CDLL(str(path))
                for name, (arguments, result) in _ARGUMENTS.items():
                    function = getattr(found, name)
                    function.argtypes, function.restype = arguments, result
            except (OSError, AttributeError):  # of another platform, C library, or version of Solomon
                return None
            return found if found.compiled_suits() else None
    return None


def addresses(*arrays: npt.NDArray[Any]) -> list[int]:
    """Where arrays' memory begins, for a call of compiled code."""
    return [array.__array_interface__["data"][0] for array in arrays]
