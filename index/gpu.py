"""FAISS on a GPU: training an inverted file and searching it, where FAISS was built for it (extra `gpu`).

FAISS's GPU indexes take no selector, so searches with a filter, or over deleted documents, stay on the CPU,
whose index is kept: it is also what snapshots hold. That FAISS must be the only one (`index.faiss_builds`).
"""

from __future__ import annotations

import threading
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from index.bits import Positions
from index.types import Vectors


def has_gpu() -> bool:
    """Whether this build of FAISS can use a GPU, and there is one."""
    return hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0


def gpu_copy(index: Any, wanted: bool) -> GpuIndex | None:
    """A copy of an inverted file on the GPU, if that is wanted and there is one."""
    return GpuIndex(index) if wanted and has_gpu() else None


class GpuIndex:
    """A copy of an index on the first GPU. FAISS's GPU indexes serve one call at a time."""

    def __init__(self, index: Any) -> None:
        """Copy an index that FAISS can move to a GPU: an inverted file or a flat one."""
        self._resources = faiss.StandardGpuResources()
        self._lock = threading.Lock()
        self.index = faiss.index_cpu_to_gpu(self._resources, 0, index)

    def search(
        self, query: Vectors, wanted: int, parameters: Any
    ) -> tuple[npt.NDArray[np.float32], Positions]:
        """The scores and positions of the nearest to a query [D], best first; -1 where there are fewer."""
        with self._lock:
            scores, positions = self.index.search(query.reshape(1, -1), wanted, params=parameters)
        return scores[0], np.asarray(positions[0], np.int64)
