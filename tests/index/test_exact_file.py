"""Exact vectors in a file: what is not the wanted record is never taken for it, whatever happened to it."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from index.bits import Mask, Positions
from index.exact_file import EXACT_FILE, ExactFile, Rows, record_bytes
from index.settings import IndexSettings
from index.short_forms import documents_at_hand, short_form
from index.store import FaissStore
from index.types import Document, Hit, Vectors
from tests.index.damage import flip_bits
from tests.index.test_upkeep import VECTORS, D, documents, segment_of, settled

ROWS = np.arange(1, 601) * 3  # with gaps, as deletions leave them
GIVEN = np.random.default_rng(2).normal(size=(len(ROWS), 8)).astype(np.float32)
EVERYWHERE = np.arange(len(ROWS))


Batch = tuple[Sequence[int], Vectors, Sequence[bytes]]


def form_of(row: int) -> bytes:
    return short_form(b"row %d" % row, None, None, b"{}")


def walk(start: int = 0, stop: int = len(ROWS), batch: int = 100) -> Iterator[Batch]:
    for at in range(start, stop, batch):
        rows = ROWS[at : min(stop, at + batch)].tolist()
        yield rows, GIVEN[at : at + len(rows)], list(map(form_of, rows))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / EXACT_FILE


@pytest.fixture
def file(path: Path) -> ExactFile:
    made = ExactFile.create(path, 8)
    assert made is not None
    made.fill(ROWS, walk())
    return made


def reopened(path: Path, rows: np.ndarray = ROWS) -> ExactFile:
    opened = ExactFile.open(path, 8, rows)
    assert opened is not None
    return opened


def test_what_was_written_is_read_in_this_process_and_the_next(file: ExactFile, path: Path) -> None:
    for each in (file, reopened(path)):
        assert each.covers(len(ROWS))
        chosen = np.array([0, 7, 8, 300, 599])
        vectors, right, forms = each.read(chosen, ROWS[chosen])
        assert right.all()
        assert (vectors == GIVEN[chosen]).all()
        ids = [f"row {row}" for row in ROWS[chosen]]
        assert documents_at_hand(forms) == list(map(Document, ids))
        assert not each.is_damaged


def test_it_grows_with_its_segment(path: Path) -> None:
    made = ExactFile.create(path, 8)
    assert made is not None
    made.fill(ROWS[:250], walk(0, 400))  # the log knows of more than the segment
    assert (made.covers(250), made.covers(251)) == (True, False)
    assert made.read(EVERYWHERE, ROWS)[1].sum() == 250
    assert not made.is_damaged  # what was not written yet is no damage
    made.fill(ROWS, walk(250))
    assert made.read(EVERYWHERE, ROWS)[1].all()


def test_rows_that_the_log_has_no_more_leave_gaps(path: Path) -> None:
    made = ExactFile.create(path, 8)
    assert made is not None
    gone = np.isin(EVERYWHERE, [0, 10, 11, 250])
    made.fill(ROWS, [(ROWS[~gone].tolist(), GIVEN[~gone], list(map(form_of, ROWS[~gone])))])
    vectors, right, _ = made.read(EVERYWHERE, ROWS)
    assert (right == ~gone).all()
    assert (vectors[right] == GIVEN[~gone]).all()


def test_the_file_of_another_segment_is_not_taken_up(file: ExactFile, path: Path) -> None:
    other = reopened(path, ROWS + 1)
    assert other.count == 0
    assert not other.read(EVERYWHERE, ROWS + 1)[1].any()
    assert file.read(EVERYWHERE, ROWS)[1].all()  # who reads the old one goes on


@pytest.mark.parametrize("seed", range(5))
def test_flipped_bits_are_noticed_in_the_records_that_they_hit(
    file: ExactFile, path: Path, seed: int
) -> None:
    before = np.frombuffer(path.read_bytes(), np.uint8).reshape(len(ROWS), -1)
    flip_bits(path, random.Random(seed), 40)
    after = np.frombuffer(path.read_bytes(), np.uint8).reshape(len(ROWS), -1)
    vectors, right, _ = file.read(EVERYWHERE, ROWS)
    assert (right == (before == after).all(axis=1)).all()
    assert (vectors[right] == GIVEN[right]).all()
    assert file.is_damaged
    assert not file.covers(1)
    file.fill(ROWS, walk())
    assert file.covers(len(ROWS))
    assert file.read(EVERYWHERE, ROWS)[1].all()


def test_a_file_that_was_cut_short_is_taken_up_as_far_as_it_goes(file: ExactFile, path: Path) -> None:
    os.truncate(path, record_bytes(8) * 100 + 5)
    again = reopened(path)
    assert again.count == 100
    assert again.read(EVERYWHERE, ROWS)[1].sum() == 100
    assert not again.is_damaged
    assert file.read(EVERYWHERE, ROWS)[1].sum() == 100  # under the feet of who has it open
    assert file.is_damaged


def test_without_a_place_to_write_there_is_no_file(tmp_path: Path) -> None:
    assert ExactFile.create(tmp_path / "nowhere" / EXACT_FILE, 8) is None
    assert ExactFile.open(tmp_path / "nowhere" / EXACT_FILE, 8, ROWS) is None


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FaissStore]:
    opened = FaissStore(tmp_path, index=IndexSettings(kind="ivf"))
    opened.create("things", D, "m")
    opened.upsert("things", documents(0, 1200))
    yield opened
    opened.close()


def answers(store: FaissStore) -> list[Sequence[Hit]]:
    return [store.search("things", VECTORS[number], 20) for number in range(0, 1200, 50)]


def test_searches_need_the_log_for_nothing_and_answer_as_if_they_did(
    store: FaissStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled(store)
    exact = segment_of(store).exact
    assert exact is not None
    assert exact.covers(1200)
    with monkeypatch.context() as without:
        without.setattr("index.log_snapshot.LogReads.vectors", None)
        without.setattr("index.log_snapshot.LogReads.documents", None)
        from_file = answers(store)
    monkeypatch.setattr(ExactFile, "read", nothing)
    assert answers(store) == from_file


def nothing(_: ExactFile, at: Positions, __: Rows) -> tuple[Vectors, Mask, Sequence[bytes]]:
    return np.zeros((len(at), D), "f4"), at < 0, [b""] * len(at)


def test_a_damaged_file_changes_no_answer_and_is_written_anew(store: FaissStore, tmp_path: Path) -> None:
    settled(store)
    expected = answers(store)
    flip_bits(tmp_path / "collections" / "things" / EXACT_FILE, random.Random(1), 3000)
    assert answers(store) == expected
    exact = segment_of(store).exact
    assert exact is not None
    assert exact.is_damaged
    store._collection("things")._upkeep.look()
    settled(store)
    assert not exact.is_damaged
    assert exact.read(EVERYWHERE, segment_of(store).rows[EVERYWHERE])[1].all()
    assert answers(store) == expected


def test_a_full_disk_costs_the_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("index.exact_file.os.pwrite", full)
    store = FaissStore(tmp_path, index=IndexSettings(kind="ivf"))
    store.create("things", D, "m")
    store.upsert("things", documents(0, 1200))
    assert settled(store).index_kind == "ivf"
    assert "exact vectors stay in the log alone: [Errno 28] No space left" in caplog.text
    exact = segment_of(store).exact
    assert exact is not None
    assert not exact.covers(1)
    [hit] = store.search("things", VECTORS[5], 1)
    assert hit.document.id == "doc-5"
    store.close()
