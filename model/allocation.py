"""What the C library does with memory that is freed.

glibc gives a large freed block back to the kernel at once, and every pass of a model then waits for the
kernel to clear the same pages again, thousands of times in a training step. And it lets nearly every thread
have an arena of its own, in which what was freed waits for this thread alone: a server's dozens of threads,
one of which decodes a picture now and then, hold on to more and more.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping

# glibc's <malloc.h>
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
_LARGEST_MMAP_THRESHOLD = 32 << 20  # larger values are refused
_TOP_PAD_BYTES = 256 << 20
_SHARED_ARENAS = 2


def keep_freed_memory() -> bool:
    """Keep what is freed within this process, for its life; whether the C library has that choice.

    One arena only: blocks that one thread frees (autograd's backward pass) are then the next one's. Without
    glibc nothing is done, and only speed is lost.
    """
    options = {
        _MMAP_THRESHOLD: _LARGEST_MMAP_THRESHOLD,
        _TRIM_THRESHOLD: 2**31 - 1,
        _TOP_PAD: _TOP_PAD_BYTES,
        _ARENA_MAX: 1,
    }
    return _set(options)


def share_arenas() -> bool:
    """Have all threads allocate from two arenas, for a server; call it before there are threads.

    Says whether the C library has that choice. `MALLOC_ARENA_MAX`, where it is set, is left as it is.
    """
    return "MALLOC_ARENA_MAX" not in os.environ and _set({_ARENA_MAX: _SHARED_ARENAS})


def _set(options: Mapping[int, int]) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all([mallopt(name, value) == 1 for name, value in options.items()])
