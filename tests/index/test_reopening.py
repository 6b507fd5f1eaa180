"""Random histories with restarts against a dictionary, and what happens to damaged snapshots."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.stateful import rule

from index.collection import LOG_FILE, SNAPSHOT_FILE
from index.store import FaissStore
from tests.index.documents import document, vector_of
from tests.index.histories import StoreHistory


class FaissHistory(StoreHistory):
    """The store on one machine, which also survives a power cut."""

    def open_store(self, path: Path) -> FaissStore:
        return FaissStore(path, snapshot_every=3)

    @rule()
    def crash(self) -> None:
        """Open what a power cut would leave: the files as they are now, the last snapshot included."""
        copy = self.folder / "copy"
        shutil.copytree(self.folder / "data", copy, ignore=shutil.ignore_patterns("*.new"))
        self.store.close()
        shutil.rmtree(self.folder / "data")
        copy.rename(self.folder / "data")
        self.store = self.open_store(self.folder / "data")


FaissHistory.TestCase.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
TestFaissHistory = FaissHistory.TestCase


def flip_a_bit(snapshot: Path) -> None:
    content = bytearray(snapshot.read_bytes())
    content[len(content) // 2] ^= 4
    snapshot.write_bytes(content)


def cut_short(snapshot: Path) -> None:
    snapshot.write_bytes(snapshot.read_bytes()[:-20])


def cut_to_a_few_bytes(snapshot: Path) -> None:
    snapshot.write_bytes(snapshot.read_bytes()[:15])


def emptied(snapshot: Path) -> None:
    snapshot.write_bytes(b"")


def another_file(snapshot: Path) -> None:
    snapshot.write_bytes(b"something else entirely " * 50)


def removed(snapshot: Path) -> None:
    snapshot.unlink()


@pytest.mark.parametrize(
    "damage", [flip_a_bit, cut_short, cut_to_a_few_bytes, emptied, another_file, removed]
)
def test_a_damaged_snapshot_costs_a_rebuild_and_nothing_else(
    tmp_path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    names = [f"doc-{number}" for number in range(50)]
    store = FaissStore(tmp_path)
    store.create("things", 8, "m")
    store.upsert("things", [document(name) for name in names])
    store.delete_document("things", "doc-7")
    store.close()
    snapshot = tmp_path / "collections" / "things" / SNAPSHOT_FILE
    damage(snapshot)
    store = FaissStore(tmp_path)
    assert "rebuilt the view of collection things" in caplog.text
    found = {hit.document.id for hit in store.search("things", vector_of("doc-7"), 1000)}
    assert found == set(names) - {"doc-7"}
    store.close()
    caplog.clear()
    FaissStore(tmp_path).close()  # the rebuilt view was written again
    assert "rebuilt" not in caplog.text


def test_a_snapshot_of_another_time_or_collection_is_not_believed(tmp_path: Path) -> None:
    things = tmp_path / "collections" / "things"
    store = FaissStore(tmp_path)
    store.create("things", 8, "m")
    store.upsert("things", [document("a")])
    store.close()
    backup = (things / LOG_FILE).read_bytes()
    store = FaissStore(tmp_path)
    store.upsert("things", [document("lost", "lost")])
    store.close()
    newer = (things / SNAPSHOT_FILE).read_bytes()

    (things / LOG_FILE).write_bytes(backup)  # the log goes back in time, the snapshot does not
    store = FaissStore(tmp_path)
    store.upsert("things", [document("new", "new")])  # takes the row key that "lost" had
    store.close()
    store = FaissStore(tmp_path)
    assert store.search("things", vector_of("new"), 1)[0].score == pytest.approx(1.0, abs=1e-6)
    store.drop("things")
    store.create("things", 8, "m")
    store.upsert("things", [document("x"), document("y")])
    store.close()
    (things / SNAPSHOT_FILE).write_bytes(newer)
    store = FaissStore(tmp_path)
    assert {hit.document.id for hit in store.search("things", vector_of("a"), 9)} == {"x", "y"}
    assert store.search("things", vector_of("x"), 1)[0].document.id == "x"
    store.close()


def test_the_snapshot_spares_reading_the_vectors_again(tmp_path: Path) -> None:
    store = FaissStore(tmp_path)
    store.create("things", 8, "m")
    store.upsert("things", [document("a"), document("b")])
    store.close()
    store = FaissStore(tmp_path)
    assert store._collection("things")._upkeep.saved == ("flat", 2, 0)
    store.close()
