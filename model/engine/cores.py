"""How many cores this process may compute on."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")  # as a container sees its own


def usable_cores(cgroup: Path | None = None) -> int:
    """The cores that the scheduler gives this process, and no more than its container's quota, rounded up.

    A container with two cores of a node's 64 is not kept from using 64 threads: it is stopped for most of
    each tenth of a second, threads in the middle of a step among others that wait for them.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup or CGROUP)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def _quota(cgroup: Path) -> float | None:
    """The cores of CPU time that a cgroup of version 2 or 1 allows; None where it allows all."""
    for read in (_version_2, _version_1):
        try:
            quota, period = read(cgroup)
        except (OSError, ValueError):  # not of this version, or "max"
            continue
        if quota > 0 and period > 0:
            return quota / period
    return None


def _version_2(cgroup: Path) -> tuple[int, int]:
    quota, period = (cgroup / "cpu.max").read_text("ascii").split()
    return int(quota), int(period)


def _version_1(cgroup: Path) -> tuple[int, int]:
    folder = cgroup / "cpu"
    quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text("ascii")) for name in ("quota", "period"))
    return quota, period
