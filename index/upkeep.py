"""What keeps a collection's view in shape, in the background: its index kind, its recall, and its snapshot.

One thread at a time works off what is due, and ends. It reads the log and views that do not change, so
neither searches nor writes wait for it; only the switch to a new layout holds writers off, for as long as it
takes to copy what was written meanwhile.

Before all that, it compares the ids of a log that was too large to be verified at opening. Damage that it
meets ends its work: the collection's next call raises it, as if it had met it itself.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import faiss
import numpy as np

from index.ann import AnnSegment
from index.ann_training import SegmentTraining, Stopped
from index.exact_file import EXACT_FILE, ExactFile, Rows
from index.flat import FlatVectors
from index.log import DocumentLog
from index.log_names import logged_error, logged_name, names_are_shown
from index.settings import IndexSettings
from index.short_forms import with_short_forms
from index.snapshot import NO_MARK, SnapshotMark, snapshot_mark, write_snapshot
from index.types import DamagedLog, StorageError, Vectors
from index.view import FLAT, View

_MIN_DEAD = 1024  # compacting a smaller layout is not worth the copy
_MIN_TAIL = 4096
_TAIL_SHARE = 16  # exact vectors behind a segment are absorbed from a sixteenth of it
_QUIET_TAIL = 512  # and from this many on where nothing is written: every search scans them
_OUTGROWN = 4  # a segment is trained anew when the collection has so many times what it was trained for
_MEASURED_GROWTH = 1.25  # times the documents, from which recall is measured again
_LEAST_REST = 1000  # changes, after a failure
_SEARCHES_BETWEEN_MEASUREMENTS = 10_000
_SEARCHES_BETWEEN_LOOKS = 64
_REMEMBERED_QUERIES = 64
_GATHERED_AT_ONCE = 4096
_SMALL_SHARE = 64  # of the documents; so few changes are read from the log as fast as from a snapshot

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Snapshots:
    """Where snapshots go: the file, the collection's uuid, the least changes from one to the next."""

    path: Path
    collection: str
    every: int


class Upkeep:
    """The background work of one open collection."""

    def __init__(
        self,
        name: str,
        log: DocumentLog,
        settings: IndexSettings,
        snapshots: Snapshots,
        current: Callable[[], View],
        switch: Callable[[Callable[[View], View]], None],
    ) -> None:
        """Work for a collection whose newest view `current` returns.

        `switch` replaces that view, with writers held off, by what a function makes of it.
        """
        self._name = name
        self._log = log
        self._settings = settings
        self._snapshots = snapshots
        self._exact_path = snapshots.path.with_name(EXACT_FILE)
        self._current = current
        self._switch = switch
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._training = SegmentTraining(log, settings, self._stopping)
        self._searched: deque[Vectors] = deque(maxlen=_REMEMBERED_QUERIES)
        self._searches = 0
        self._seen = -1  # the latest change, as searches saw it
        self._quiet_since = -1  # the same, if nothing was written for some searches
        self._given_up_below = 0  # documents up to which no approximate index was good enough
        self._resting_until = 0  # the change until which nothing is begun, after a failure
        self._measure = False
        self._measured_rows = 0  # of the segment, when its recall was last measured
        self._tried = NO_MARK  # the last snapshot, be it that the disk refused it
        #: Damage that was met; nothing is begun any more.
        self.damage: DamagedLog | None = None
        #: What the snapshot on disk holds; None if there is none.
        self.saved: SnapshotMark | None = None

    def searched(self, query: Vectors) -> None:
        """Remember a query [D], to measure recall on; now and then, see whether something is due."""
        self._searched.append(query)
        self._searches += 1  # a race between threads loses a count, and does no harm
        if self._searches % _SEARCHES_BETWEEN_LOOKS:
            return
        sequence = self._current().sequence
        self._quiet_since = sequence if sequence == self._seen else -1
        self._seen = sequence
        if self._searches >= _SEARCHES_BETWEEN_MEASUREMENTS:
            self._searches = 0
            self._measure = True
        self.look()

    def look(self) -> None:
        """Begin what is due, unless that is under way."""
        with self._lock:
            if self._thread is None and not self._stopping.is_set() and self._due(self._current()):
                self._thread = threading.Thread(target=self._run, name=f"upkeep-{self._name}", daemon=True)
                self._thread.start()

    def wait(self) -> None:
        """Wait until nothing is due, or the work was given up."""
        while True:
            with self._lock:  # within which a thread is both named and started
                thread = self._thread
            if thread is None:
                return
            thread.join()

    def stop(self) -> None:
        """Give up what is under way, and wait for that; nothing is begun any more."""
        self._stopping.set()
        self.wait()

    def restored(self, mark: SnapshotMark) -> None:
        """Learn what the snapshot on disk holds."""
        self.saved = self._tried = mark

    def save_if_worth_it(self) -> None:
        """Write a snapshot at closing, unless the log has little to add to the one on disk."""
        view = self._current()
        if self.saved is None or (view.layout.segment is None and self.saved[0] == FLAT):
            changes = view.sequence - (0 if self.saved is None else self.saved[1])
            if changes > view.count // _SMALL_SHARE:
                self._save()
        elif snapshot_mark(view) != self.saved:
            self._save()

    def _run(self) -> None:
        faiss.omp_set_num_threads(max(1, faiss.omp_get_max_threads() // 2))  # of this thread's work alone
        while True:
            with self._lock:
                due = None if self._stopping.is_set() else self._due(self._current())
                if due is None:
                    self._thread = None
                    return
            try:
                due()
            except Stopped:
                continue
            except DamagedLog as damage:
                _logger.error(
                    "upkeep of collection %s: %s What is sound is recovered by the next call to its "
                    "documents, or by `solomon index verify %s --repair`.",
                    logged_name(self._name),
                    logged_error(damage),
                    self._name if names_are_shown() else "NAME",
                )
                self.damage = damage
            except Exception:
                # Whatever it was (memory, disk, damage), the collection is served as it is.
                _logger.exception("upkeep of collection %s failed", logged_name(self._name))
                self._rest(self._current())

    def _rest(self, view: View) -> None:
        self._resting_until = view.sequence + max(_LEAST_REST, view.count // 8)

    def _due(self, view: View) -> Callable[[], None] | None:
        """What should be done next."""
        if self.damage is not None or view.sequence < self._resting_until:
            return None
        if self._log.ids_unchecked:
            return self._check_ids
        segment = view.layout.segment
        if self._is_mostly_dead(view):
            return self._make_anew
        if segment is None:
            if self._settings.kinds(view.count) and view.count >= self._given_up_below:
                return self._make_anew
        elif view.count > _OUTGROWN * segment.trained_for:
            return self._make_anew
        elif self._is_worth_absorbing(view, segment):
            return self._absorb
        elif segment.exact is not None and not segment.exact.covers(len(segment.rows)):
            return self._complete_exact_file
        elif self._measure:
            return self._measure_recall
        return self._save_unless_stopped if self._snapshot_is_due(view) else None

    def _check_ids(self) -> None:
        try:
            self._log.check_ids(self._stopping.is_set)
        except StorageError as error:
            if self._stopping.is_set():
                raise Stopped from error
            raise

    def _is_worth_absorbing(self, view: View, segment: AnnSegment) -> bool:
        if view.sequence == self._quiet_since and view.tail_size > _QUIET_TAIL:
            return True
        return view.tail_size > max(_MIN_TAIL, len(segment.rows) // _TAIL_SHARE)

    def _is_mostly_dead(self, view: View) -> bool:
        return view.dead >= max(_MIN_DEAD, view.count)

    def _snapshot_is_due(self, view: View) -> bool:
        kind, sequence, trained_for = snapshot_mark(view)
        if (kind, trained_for) != (self._tried[0], self._tried[2]):
            return True
        return sequence - self._tried[1] >= max(self._snapshots.every, view.count // 2)

    def _make_anew(self) -> None:
        """Make a new layout of what is live: a segment, if one should be and is good enough, or flat."""
        view = self._current()
        for kind in self._settings.kinds(view.count):
            segment = self._training.segment(kind, view, list(self._searched))
            if segment is not None:
                self._measured_rows = len(segment.rows)
                exact = ExactFile.create(self._exact_path, self._log.settings.dimensions)
                self._use(replace(segment, exact=exact))
                return
            _logger.warning(
                "collection %s: %s does not reach a recall of %s",
                logged_name(self._name),
                kind,
                self._settings.recall_floor,
            )
        self._use_flat(view)

    def _absorb(self) -> None:
        absorbed = self._training.absorbed(self._current())
        self._use(absorbed)
        self._measure |= len(absorbed.rows) >= _MEASURED_GROWTH * self._measured_rows

    def _complete_exact_file(self) -> None:
        """Write the exact vectors that the segment's file lacks, or all if some are damaged."""
        view = self._current()
        segment = view.layout.segment
        if segment is None or segment.exact is None:
            return
        held = 0 if segment.exact.is_damaged else segment.exact.count
        after = int(segment.rows[held - 1]) if held else 0
        try:
            walk = self._training.walk(segment.sequence, after)
            segment.exact.fill(segment.rows, with_short_forms(walk, self._log))
        except OSError as error:
            _logger.warning(
                "collection %s: exact vectors stay in the log alone: %s",
                logged_name(self._name),
                logged_error(error),
            )
            self._rest(view)

    def _measure_recall(self) -> None:
        self._measure = False
        view = self._current()
        measured = self._training.measured(view, list(self._searched))
        if measured is None:
            _logger.warning(
                "collection %s: recall fell below %s", logged_name(self._name), self._settings.recall_floor
            )
            self._use_flat(view)
        else:
            self._measured_rows = len(measured.rows)
            _logger.info("collection %s: recall@10 is %.3f", logged_name(self._name), measured.recall)
            self._switch(lambda newest: newest.with_segment(measured))

    def _use(self, segment: AnnSegment) -> None:
        tail = FlatVectors(self._log.settings.dimensions)
        self._switch(lambda newest: newest.rebased(segment, tail, np.zeros(0, np.int64), segment.sequence))
        _logger.info(
            "collection %s: %s over %d documents, recall@10 %.3f, effort %s",
            logged_name(self._name),
            segment.kind,
            len(segment.rows),
            segment.recall,
            segment.effort,
        )

    def _use_flat(self, view: View) -> None:
        """Search exactly, over the live vectors of a view; look for something better when it has doubled."""
        if self._settings.kinds(view.count):
            self._given_up_below = 2 * view.count
        if view.layout.segment is None and not self._is_mostly_dead(view):
            return
        tail, rows = self._live_vectors(view)
        self._switch(lambda newest: newest.rebased(None, tail, rows, view.sequence))
        with suppress(OSError):  # who still reads it goes on, and the next segment has a new one
            self._exact_path.unlink(missing_ok=True)

    def _live_vectors(self, view: View) -> tuple[FlatVectors, Rows]:
        tail = FlatVectors(self._log.settings.dimensions)
        live = np.flatnonzero(view.live_mask())
        if view.layout.segment is None:
            for start in range(0, len(live), _GATHERED_AT_ONCE):
                tail.write(start, view.layout.tail.gather(live[start : start + _GATHERED_AT_ONCE]))
            return tail, view.layout.rows(view.size)[live]
        rows: list[int] = []
        for batch, vectors in self._training.walk(view.sequence):
            tail.write(len(rows), vectors)
            rows += batch
        return tail, np.array(rows, np.int64)

    def _save_unless_stopped(self) -> None:
        self._save(self._training.check)

    def _save(self, stop: Callable[[], None] = lambda: None) -> None:
        """Write a snapshot; a disk that refuses costs only a slower start, so it is logged and no more."""
        view = self._current()
        self._tried = snapshot_mark(view)
        try:
            write_snapshot(self._snapshots.path, self._snapshots.collection, view, stop)
        except OSError as error:
            _logger.warning("no snapshot of collection %s: %s", logged_name(self._name), logged_error(error))
        else:
            self.saved = self._tried
