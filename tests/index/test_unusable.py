"""Collections that could not be opened: what is only refused is tried again, and costs nothing meanwhile."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from index.collection import LOG_FILE, Collection
from index.folders import Folders
from index.recovery import open_collection
from index.store import FaissStore
from index.types import UNUSABLE, CollectionExists, DamagedLog, StorageError, UnusableCollection
from tests.index.documents import document, vector_of

Opened = Callable[[Folders, str, Callable[[Path], Collection]], Collection]


class Disk:
    """Lets "things" be opened, or raises what it is told to."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.tries = 0

    def open(self, folders: Folders, name: str, make: Callable[[Path], Collection]) -> Collection:
        if name == "things" and self.error is not None:
            self.tries += 1
            raise self.error
        return open_collection(folders, name, make)

    def wait_for_tries(self, count: int) -> None:
        until(lambda: self.tries >= count)


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def served(store: FaissStore, name: str = "things") -> bool:
    return any(info.name == name and info.index_kind != UNUSABLE for info in store.list())


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr("index.store.open_collection", disk.open)
    monkeypatch.setattr("index.unusable.RETRY_SECONDS", (0.01,))
    return disk


@pytest.fixture
def data(tmp_path: Path) -> Path:
    store = FaissStore(tmp_path)
    for name in ("things", "others"):
        store.create(name, 8, "m")
        store.upsert(name, [document("first")])
    store.close()
    return tmp_path


def test_what_a_full_disk_kept_shut_opens_by_itself(data: Path, disk: Disk) -> None:
    disk.error = StorageError("database or disk is full.")
    store = FaissStore(data)
    with pytest.raises(UnusableCollection, match=r"disk is full\. It is tried again\.$"):
        store.get("things")
    with pytest.raises(UnusableCollection):  # sound, as far as anybody knows
        store.verify("things")
    assert not served(store)
    store.upsert("others", [document("second")])
    disk.error = None
    until(lambda: served(store))
    assert [hit.document.id for hit in store.search("things", vector_of("x"), 10)] == ["first"]
    store.close()


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), MemoryError()], ids=repr)
def test_it_is_tried_again_whatever_happens(data: Path, disk: Disk, error: Exception) -> None:
    disk.error = StorageError("database or disk is full.")
    store = FaissStore(data)
    disk.error = error
    disk.wait_for_tries(disk.tries + 3)
    disk.error = None
    until(lambda: served(store))
    assert [hit.document.id for hit in store.search("things", vector_of("x"), 10)] == ["first"]
    store.close()


def test_a_log_that_is_put_back_is_served(data: Path, disk: Disk) -> None:
    log, elsewhere = data / "collections" / "things" / LOG_FILE, data / "elsewhere"
    log.rename(elsewhere)
    store = FaissStore(data)
    with pytest.raises(UnusableCollection, match=r"missing.*It is tried again"):
        store.get("things")
    with pytest.raises(UnusableCollection):  # the name is taken, log or no log
        store.create("things", 8, "m")
    elsewhere.rename(log)
    until(lambda: served(store))
    store.close()


def test_a_folder_that_is_away_for_a_while_keeps_its_name(data: Path, disk: Disk) -> None:
    disk.error = StorageError("Input/output error.")
    store = FaissStore(data)
    folder, away = data / "collections" / "things", data / "away"
    folder.rename(away)
    disk.error = None
    time.sleep(0.1)
    with pytest.raises(UnusableCollection):
        store.create("things", 8, "m")
    away.rename(folder)
    until(lambda: served(store))
    store.close()


def test_a_salvage_that_the_disk_cuts_short_leaves_no_copies_and_loses_nothing(
    data: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = data / "collections" / "things" / LOG_FILE
    content = bytearray(log.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    log.write_bytes(content)
    full = threading.Event()
    full.set()
    tries = 0

    def salvage(source: Path, journal: Path, target: Path) -> tuple[int, list[object]]:
        nonlocal tries
        tries += 1
        target.write_bytes(bytes(1000))
        raise StorageError("database or disk is full.")

    with monkeypatch.context() as patched:
        patched.setattr("index.recovery.salvage", salvage)
        store = FaissStore(data)
        until(lambda: tries > 3)
        assert len(list((data / "staging").iterdir())) <= 1  # of the try under way
        with pytest.raises(UnusableCollection, match="tried again"):
            store.get("things")
    until(lambda: served(store))
    store.close()


def test_an_exchange_that_the_disk_cut_short_is_ended_by_the_next_try(data: Path, disk: Disk) -> None:
    """Salvage had put the old folder away and not the new one in its place."""
    disk.error = StorageError("Input/output error.")
    store = FaissStore(data)
    (data / "collections" / "things").rename(data / "staging" / "things.salvaged")
    disk.error = None
    until(lambda: served(store))
    assert [hit.document.id for hit in store.search("things", vector_of("x"), 10)] == ["first"]
    assert not list((data / "staging").iterdir())
    store.close()


def test_a_reason_that_turns_into_damage_is_told_and_ends_the_trying(
    data: Path, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    disk.error = StorageError("database or disk is full.")
    store = FaissStore(data)
    disk.wait_for_tries(3)
    disk.error = DamagedLog("The log is damaged.")
    until(lambda: bool(store._unusable.final_reason("things")))
    tries = disk.tries
    time.sleep(0.1)
    assert disk.tries == tries
    told = [record.getMessage() for record in caplog.records if "cannot be served" in record.getMessage()]
    assert [("tried again" in line, "full" in line) for line in told] == [(True, True), (False, False)]
    assert store.verify("things").damage == ["The log is damaged."]
    store.close()


def test_dropping_and_restoring_end_the_trying(data: Path, disk: Disk, tmp_path: Path) -> None:
    store = FaissStore(data)
    store.backup("things", tmp_path / "backup")
    store.close()
    disk.error = StorageError("database or disk is full.")
    store = FaissStore(data)
    with pytest.raises(CollectionExists):
        store.restore(tmp_path / "backup", "things")
    store.drop("things")
    assert [info.name for info in store.list()] == ["others"]
    disk.error = None
    time.sleep(0.1)
    assert [info.name for info in store.list()] == ["others"]
    assert store.restore(tmp_path / "backup", "things").count == 1
    store.close()


def test_closing_ends_a_try_and_lets_the_directory_go(data: Path, disk: Disk) -> None:
    disk.error = StorageError("database or disk is full.")
    store = FaissStore(data)
    disk.wait_for_tries(2)
    store.close()
    tries = disk.tries
    time.sleep(0.1)
    assert disk.tries == tries
    disk.error = None
    store = FaissStore(data)
    assert served(store)
    store.close()
