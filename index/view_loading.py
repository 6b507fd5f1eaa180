"""The view of a collection that is being opened: from its snapshot and what the log has since, or the log."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from index.log import DocumentLog
from index.settings import IndexSettings
from index.snapshot import SnapshotHeader, SnapshotMark, UnusableSnapshot, read_header, read_snapshot
from index.view import FLAT, View


def view_of_log(log: DocumentLog) -> View:
    """A flat view of all that the log holds; nobody may be writing to it."""
    return _caught_up(View.empty(log.settings.dimensions), log, log.sequence())


def restored_view(log: DocumentLog, path: Path, index: IndexSettings) -> tuple[View, SnapshotMark]:
    """The log's view by way of a snapshot, and what that holds.

    Nobody may be writing to the log. Raises `UnusableSnapshot`.
    """
    header = read_header(path)
    with log.snapshot() as now:
        live, sequence = now.row_keys(), now.sequence
    _check_header(header, log, sequence, index)
    layout = read_snapshot(path, header, gpu=index.gpu).layout
    known = live[: np.searchsorted(live, header.sequence, side="right")]
    view = View.of(layout, header.count, known, header.sequence)
    if view.count < len(known):
        raise UnusableSnapshot("it lacks documents of its time")
    return _caught_up(view, log, sequence), (header.kind, header.sequence, header.trained_for)


def _check_header(header: SnapshotHeader, log: DocumentLog, sequence: int, index: IndexSettings) -> None:
    if (header.collection, header.dimensions) != (log.settings.uuid, log.settings.dimensions):
        raise UnusableSnapshot("it is of another collection")
    if header.sequence > sequence:
        raise UnusableSnapshot("it is newer than the log, which must have been restored from a backup")
    if header.kind not in (FLAT, index.kind) and index.kind != "auto":
        raise UnusableSnapshot(f"its index is {header.kind}, and {index.kind} is wanted")


def _caught_up(view: View, log: DocumentLog, sequence: int) -> View:
    """The view with what the log has behind it, as of the log's latest change."""
    for rows, vectors in log.vectors_after(view.sequence):
        view = view.changed(rows[-1], rows, vectors, ())
    return replace(view, sequence=sequence)
