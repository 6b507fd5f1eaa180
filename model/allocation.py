"""The C library told to keep the memory that a pass frees, for the next pass.

glibc gives a large freed block back to the kernel at once, and every pass of a model then waits for the
kernel to clear the same pages again, thousands of times in a training step.
"""

from __future__ import annotations

import ctypes
import sys

# glibc's <malloc.h>
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
_LARGEST_MMAP_THRESHOLD = 32 << 20  # larger values are refused
_TOP_PAD_BYTES = 256 << 20


def keep_freed_memory() -> bool:
    """Keep what is freed within this process, for its life; whether the C library has that choice.

    One arena only: blocks that one thread frees (autograd's backward pass) are then the next one's. Without
    glibc nothing is done, and only speed is lost.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    options = (
        (_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD),
        (_TRIM_THRESHOLD, 2**31 - 1),
        (_TOP_PAD, _TOP_PAD_BYTES),
        (_ARENA_MAX, 1),
    )
    return all([mallopt(name, value) == 1 for name, value in options])
