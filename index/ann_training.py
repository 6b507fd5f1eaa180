"""Making an approximate segment from the log, in batches, while the collection is read and written.

The log is walked twice: for a sample that cells and ranges are fitted to, then to add every vector. The
second walk also gathers the exact neighbours of the probes, so that the new segment's recall is known
before it is used. No walk holds more than a batch and the sample.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from index.ann import IVF, AnnSegment, Effort, cells_for, efforts, new_index
from index.bits import part
from index.cells import NearCells
from index.faiss_builds import installed_builds, mend_builds
from index.gpu import gpu_copy, has_gpu
from index.log import DocumentLog
from index.recall import PROBES, Probes, Truth, tuned
from index.settings import IndexSettings
from index.types import Vectors
from index.view import View

_SAMPLE_PER_CELL = 40  # FAISS asks for at least 39
_LEAST_SAMPLE = 10_000
_ITERATIONS = 8  # of k-means
_NO_GPU = "FAISS sees none, or was built without (extra 'gpu')"
_ADDED_AT_ONCE = 1024  # between two looks at whether to stop

_logger = logging.getLogger(__name__)


class Stopped(Exception):
    """The collection is being closed."""


class SegmentTraining:
    """Makes segments of one collection; one at a time, in a thread that may take long."""

    def __init__(self, log: DocumentLog, settings: IndexSettings, stopping: threading.Event) -> None:
        """Read from a log; give up with `Stopped` soon after `stopping` is set."""
        self._log = log
        self._settings = settings
        self._stopping = stopping
        if settings.gpu and not has_gpu():
            mend = mend_builds(installed_builds())
            reason = f"several builds of FAISS are installed; run: {mend}" if mend else _NO_GPU
            _logger.warning("no GPU for the index: %s", reason)

    def segment(self, kind: str, view: View, searched: Sequence[Vectors]) -> AnnSegment | None:
        """A segment of what is live in a view, or None if no effort reaches the floor on recall.

        `searched` are queries [D] that were searched for lately.
        """
        index = new_index(kind, self._log.settings.dimensions, view.count)
        rows, sample = self._sample(view)
        chosen = np.random.default_rng(view.sequence).permutation(len(rows))[: min(PROBES, len(rows) // 4)]
        truth = Truth(Probes.of([rows[at] for at in chosen], sample[chosen], searched))
        self._train(kind, index, _without(sample, chosen))
        del sample
        kept = [np.zeros(0, np.int64)]
        for batch, vectors in self.walk(view.sequence):
            self._add(index, vectors)
            truth.add(batch, vectors)
            kept.append(np.asarray(batch, np.int64))
        on_gpu = gpu_copy(index, self._settings.gpu and kind == IVF)
        segment = AnnSegment(
            kind,
            index,
            np.concatenate(kept),
            view.sequence,
            view.count,
            Effort(1, 1.0),
            recall=0.0,
            on_gpu=on_gpu,
            cells=NearCells.of(index),
        )
        if not len(segment.rows):
            return None
        return tuned(segment, efforts(kind, index), truth, self._settings.recall_floor, self._log)

    def absorbed(self, view: View) -> AnnSegment:
        """The view's segment with all that lies behind it added; the old one stays as it is."""
        segment = view.layout.segment
        assert segment is not None  # noqa: S101 - only views with a segment have something to absorb it
        behind = np.flatnonzero(view.live_mask()[view.layout.start :])
        index = faiss.clone_index(segment.index)
        for start in range(0, len(behind), _ADDED_AT_ONCE):
            self._add(index, view.layout.tail.gather(behind[start : start + _ADDED_AT_ONCE]))
        added = view.layout.rows(view.size)[behind + view.layout.start]
        rows = np.concatenate([segment.rows, added])
        on_gpu = gpu_copy(index, segment.on_gpu is not None)
        return replace(segment, index=index, rows=rows, sequence=view.sequence, on_gpu=on_gpu)

    def measured(self, view: View, searched: Sequence[Vectors]) -> AnnSegment | None:
        """The view's segment with its recall measured anew, and its effort raised if that is below the floor.

        None if no effort reaches the floor.
        """
        segment = view.layout.segment
        assert segment is not None  # noqa: S101 - flat views are exact
        live = part(view.live, 0, len(segment.rows))
        choice = np.random.default_rng(view.sequence).permutation(len(segment.rows))[:PROBES]
        with self._log.snapshot() as now:
            rows, vectors = now.live_vectors(np.sort(segment.rows[choice]).tolist())
        truth = Truth(Probes.of(rows, vectors, searched))
        for batch, seen in self.walk(segment.sequence):
            truth.add(batch, seen)
        found = truth.recall(segment, self._log, live)
        recall = float(found.mean()) if len(found) else 1.0
        if recall >= self._settings.recall_floor:
            return replace(segment, recall=recall)
        tried = segment.effort
        harder = [
            effort
            for effort in efforts(segment.kind, segment.index)
            if (effort.depth, effort.breadth) > (tried.depth, tried.breadth)
        ]
        return tuned(segment, harder, truth, self._settings.recall_floor, self._log, live)

    def _sample(self, view: View) -> tuple[Sequence[int], Vectors]:
        """Vectors to fit to, evenly from the whole log, and their rows."""
        size = min(view.count, max(_LEAST_SAMPLE, _SAMPLE_PER_CELL * cells_for(view.count)))
        wanted = view.live_rows()[np.linspace(0, view.count - 1, size).astype(np.int64)]
        rows: list[int] = []
        parts = [np.zeros((0, self._log.settings.dimensions), np.float32)]
        for batch, vectors in self.walk(view.sequence):
            keys = np.asarray(batch, np.int64)
            at = np.minimum(np.searchsorted(wanted, keys), len(wanted) - 1)
            taken = wanted[at] == keys
            parts.append(vectors[taken])
            rows += keys[taken].tolist()
        return rows, np.concatenate(parts)

    def _train(self, kind: str, index: Any, sample: Vectors) -> None:
        if kind == IVF:
            self._fit_cells(index, sample)
        index.train(sample)

    def _fit_cells(self, index: Any, sample: Vectors) -> None:
        """K-means on the sphere, one iteration at a time, so that closing need not wait for all of them."""
        clustering = faiss.Clustering(index.d, index.nlist)
        clustering.niter, clustering.spherical = 1, True
        clustering.min_points_per_centroid, clustering.max_points_per_centroid = 1, len(sample)
        quantizer = faiss.downcast_index(index.quantizer)
        on_gpu = gpu_copy(quantizer, self._settings.gpu)
        working = quantizer if on_gpu is None else on_gpu.index
        for _ in range(_ITERATIONS):
            self.check()
            clustering.train(sample, working)
        quantizer.reset()
        quantizer.add(faiss.vector_to_array(clustering.centroids).reshape(index.nlist, index.d))

    def _add(self, index: Any, vectors: Vectors) -> None:
        for start in range(0, len(vectors), _ADDED_AT_ONCE):
            self.check()
            index.add(vectors[start : start + _ADDED_AT_ONCE])

    def walk(self, until: int, after: int = 0) -> Iterator[tuple[Sequence[int], Vectors]]:
        """The log's live rows and vectors behind a row and up to a change, in batches."""
        for rows, vectors in self._log.vectors_after(after):
            self.check()
            within = int(np.searchsorted(rows, until, side="right"))
            if within:
                yield rows[:within], vectors[:within]
            if within < len(rows):
                return

    def check(self) -> None:
        """Raise `Stopped` if the collection is being closed."""
        if self._stopping.is_set():
            raise Stopped


def _without(sample: Vectors, chosen: npt.NDArray[np.int64]) -> Vectors:
    """The sample but for some of its vectors, in its own memory; the order changes.

    Cells lie closer to what they were fitted to than to anything else, so probes from within the sample
    promise too much: 0.964 where new queries found 0.920 of their neighbours, at a million documents.
    """
    left = len(sample) - len(chosen)
    behind = np.setdiff1d(np.arange(left, len(sample)), chosen)
    sample[chosen[chosen < left]] = sample[behind]
    return sample[:left]
