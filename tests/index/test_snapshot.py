"""Snapshots of every kind: what is read is what was written, or nothing is."""

from __future__ import annotations

import os
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index import snapshot as snapshot_module
from index.ann import HNSW, IVF
from index.ann_training import SegmentTraining
from index.flat import FlatVectors
from index.log import DocumentLog
from index.settings import IndexSettings
from index.snapshot import UnusableSnapshot, read_header, read_snapshot, write_snapshot
from index.types import NewDocument
from index.view import FLAT, View
from tests.index.documents import vector_of

COUNT = 400


@pytest.fixture(scope="module", params=[FLAT, IVF, HNSW])
def view(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[View]:
    folder = tmp_path_factory.mktemp("log")
    DocumentLog.create(folder / "log", 8, "m")
    log = DocumentLog(folder / "log")
    documents = [NewDocument(str(number), vector_of(str(number))) for number in range(COUNT)]
    vectors = np.stack([document.vector for document in documents])
    rows = log.upsert(documents, ["{}"] * COUNT, vectors)
    made = View.empty(8).changed(rows[-1], rows, vectors, [])
    if request.param != FLAT:
        training = SegmentTraining(log, IndexSettings(recall_floor=0.1), threading.Event())
        segment = training.segment(request.param, made, [])
        assert segment is not None
        made = made.rebased(segment, FlatVectors(8), np.zeros(0, np.int64), segment.sequence)
    yield made
    log.close()


@pytest.fixture(scope="module")
def content(view: View, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("snapshot") / "view"
    write_snapshot(path, "uuid", view)
    return path.read_bytes()


def test_a_snapshot_is_read_as_it_was_written(view: View, tmp_path: Path) -> None:
    path = tmp_path / "view"
    written = write_snapshot(path, "uuid", view)
    header = read_header(path)
    assert header == written
    assert (header.collection, header.kind, header.count, header.sequence) == (
        "uuid",
        view.kind,
        COUNT,
        COUNT,
    )
    layout = read_snapshot(path, header).layout
    assert (layout.rows(COUNT) == view.layout.rows(COUNT)).all()
    before, after = view.layout.segment, layout.segment
    if before is None:
        everything = np.arange(COUNT)
        assert (layout.tail.gather(everything) == view.layout.tail.gather(everything)).all()
        return
    assert after is not None
    assert (after.effort, after.recall, after.trained_for) == (before.effort, before.recall, COUNT)
    for text in ("a", "b", "c"):
        found, expected = (s.candidates(vector_of(text), 10, None, COUNT)[0] for s in (after, before))
        assert found.tolist() == expected.tolist()


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_and_any_cut_is_noticed(
    content: bytes, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("damage") / "view"
    position = data.draw(st.integers(0, len(content) - 1))
    flipped = bytearray(content)
    flipped[position] ^= 1 << data.draw(st.integers(0, 7))
    for damaged in (bytes(flipped), content[:position], content + b"\0"):
        path.write_bytes(damaged)
        with pytest.raises(UnusableSnapshot):
            read_header(path)


def test_what_the_disk_refuses_leaves_the_snapshot_of_before(
    view: View, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`/dev/full` takes nothing: every flush of the file fails as on a full disk."""
    path = tmp_path / "view"
    path.write_bytes(content)
    (tmp_path / "view.new").symlink_to("/dev/full")
    monkeypatch.setattr(snapshot_module, "_BLOCK", 64)
    with pytest.raises(OSError, match="No space left"):
        write_snapshot(path, "uuid", view)
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["view"]


def test_the_vectors_are_not_copied_to_be_written_or_read(tmp_path: Path) -> None:
    count, dimensions = 20_000, 256
    vectors = np.random.default_rng(0).normal(size=(count, dimensions)).astype(np.float32)
    view = View.empty(dimensions).changed(count, range(1, count + 1), vectors, [])
    path = tmp_path / "view"
    tracemalloc.start()
    try:
        write_snapshot(path, "uuid", view)
        _, written = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        layout = read_snapshot(path, read_header(path)).layout
        held, read = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert written < vectors.nbytes / 2
    assert read - held < vectors.nbytes / 2
    assert (layout.tail.gather(np.arange(count)) == vectors).all()
