"""A data directory that is copied from: all of it is read, in whatever state it is, and nothing changes."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from index.collection import LOG_FILE, SNAPSHOT_FILE
from index.reading import FolderSource
from index.store import FaissStore
from index.types import CollectionInfo, DamagedLog, DataDirectoryLocked, Image, NewDocument, UnknownCollection
from tests.index.damage import cut_short
from tests.index.documents import document
from tests.index.format_1 import make_format_1

PICTURE = Image(b"a picture" * 5000, "image/png")


@pytest.fixture
def crashed(tmp_path: Path) -> Path:
    """A data directory as a killed process leaves it, with changes in the write-ahead log."""
    store = FaissStore(tmp_path / "live")
    store.create("things", 8, "m")
    store.create("empty", 4, "n")
    store.upsert("things", [document(f"doc-{n}", f"text {n}", PICTURE, n=n) for n in range(200)])
    store.delete_document("things", "doc-7")
    shutil.copytree(tmp_path / "live", tmp_path / "data")
    store.close()
    (tmp_path / "data" / "trash" / "left").mkdir()
    (tmp_path / "data" / "collections" / "things" / f"{LOG_FILE}-shm").unlink()
    return tmp_path / "data"


@pytest.fixture
def closed(crashed: Path) -> Path:
    """The same after an orderly end, but for its caches."""
    FaissStore(crashed).close()
    (crashed / "collections" / "things" / SNAPSHOT_FILE).unlink()
    return crashed


def state_of(data_dir: Path) -> dict[Path, tuple[int, bytes]]:
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in data_dir.rglob("*")
        if path.name != f"{LOG_FILE}-shm" and path.parent.name != "collections"
    }


def contents(exported: FolderSource | FaissStore, name: str) -> dict[str, object]:
    found: list[NewDocument] = [made for batch in exported.export(name) for made in batch]
    return {d.id: (d.text, d.image, dict(d.metadata), d.vector.tobytes()) for d in found}


@pytest.mark.parametrize("state", ["crashed", "closed"])
def test_all_is_read_and_nothing_changes(state: str, request: pytest.FixtureRequest) -> None:
    data_dir: Path = request.getfixturevalue(state)
    before = state_of(data_dir)
    source = FolderSource(data_dir)
    assert source.list() == [CollectionInfo("empty", 0, 4, "flat", "n"), source.get("things")]
    assert source.get("things") == CollectionInfo("things", 199, 8, "flat", "m")
    found = contents(source, "things")
    assert (len(found), contents(source, "empty")) == (199, {})
    with pytest.raises(UnknownCollection):
        source.get("none")
    source.close()
    assert state_of(data_dir) == before
    assert not list((data_dir / "collections" / "things").glob("*-shm"))
    store = FaissStore(data_dir)
    assert contents(store, "things") == found
    store.close()


def test_what_a_server_has_open_is_not_read(closed: Path) -> None:
    store = FaissStore(closed)
    with pytest.raises(DataDirectoryLocked):
        FolderSource(closed)
    store.close()
    source = FolderSource(closed)
    with pytest.raises(DataDirectoryLocked):
        FaissStore(closed)
    source.close()
    (closed / "lock").unlink()  # as in a copy of the directory
    FolderSource(closed).close()
    assert not (closed / "lock").exists()


def test_a_log_of_format_1_is_read_as_it_is(tmp_path: Path) -> None:
    make_format_1(tmp_path / "collections" / "old" / LOG_FILE, [document("a", "text"), document("b", n=1)])
    before = state_of(tmp_path)
    source = FolderSource(tmp_path)
    assert source.get("old") == CollectionInfo("old", 2, 8, "flat", "m")
    assert {name: found[0] for name, found in contents(source, "old").items()} == {"a": "text", "b": None}  # type: ignore[index]
    source.close()
    assert state_of(tmp_path) == before


def test_a_replacement_that_a_crash_cut_short_counts(closed: Path) -> None:
    store = FaissStore(closed)
    store.create("other", 8, "m")
    store.upsert("other", [document("newer")])
    store.close()
    (closed / "collections" / "other").rename(closed / "staging" / "things.restored")
    source = FolderSource(closed)
    assert list(contents(source, "things")) == ["newer"]
    source.close()


@pytest.mark.parametrize("harm", ["row", "end", "missing"])
def test_damage_is_told_with_its_mend_and_left_alone(crashed: Path, harm: str) -> None:
    log = crashed / "collections" / "things" / LOG_FILE
    if harm == "end":
        cut_short(log.with_name(f"{LOG_FILE}-wal"), random.Random(2))
    elif harm == "missing":
        log.unlink()
    else:
        with closing(sqlite3.connect(log)) as connection:
            connection.execute("UPDATE documents SET text = 'other' WHERE id = 'doc-9'")
            connection.commit()
    before = state_of(crashed)
    source = FolderSource(crashed)
    mend = "Put it back" if harm == "missing" else r"Nothing was changed\. Starting a server on the source"
    with pytest.raises(DamagedLog, match=mend):
        contents(source, "things")
    listed = {info.name: info.index_kind for info in source.list()}
    assert listed == {"empty": "flat", "things": "unusable" if harm == "missing" else "flat"}
    source.close()
    assert state_of(crashed) == before
