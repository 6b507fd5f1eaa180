"""What only the store on one machine does: its directory, its lock, and a disk that fails."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from index.store import FaissStore
from index.types import DataDirectoryLocked, Image, StorageError, UnknownCollection
from tests.index.documents import document, vector_of


def test_a_dropped_collection_leaves_no_files(store: FaissStore, tmp_path: Path) -> None:
    store.upsert("things", [document("a")])
    store.drop("things")
    for folder in ("collections", "trash", "staging"):
        assert list((tmp_path / "data" / folder).iterdir()) == []


def test_what_a_crash_left_half_made_or_half_removed_is_cleaned_at_open(tmp_path: Path) -> None:
    store = FaissStore(tmp_path)
    store.create("kept", 8, "m")
    store.close()
    for folder in ("staging", "trash"):
        (tmp_path / folder / "0123").mkdir()
        (tmp_path / folder / "0123" / "documents.sqlite3").write_bytes(b"half")
    (tmp_path / "collections" / "Not ours").mkdir()
    store = FaissStore(tmp_path)
    assert [info.name for info in store.list()] == ["kept"]
    store.close()
    assert not any((tmp_path / "staging").iterdir())
    assert not any((tmp_path / "trash").iterdir())


def test_documents_are_closed_to_other_users(tmp_path: Path) -> None:
    """Also where an earlier version left them open; the group keeps what it had."""
    tmp_path.chmod(0o755)
    for name, mode in (("collections", 0o755), ("damaged", 0o2775)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
    FaissStore(tmp_path).close()
    modes = {folder.name: folder.stat().st_mode & 0o7777 for folder in tmp_path.iterdir() if folder.is_dir()}
    assert modes == {"collections": 0o750, "damaged": 0o2770, "staging": 0o700, "trash": 0o700}
    assert tmp_path.stat().st_mode & 0o777 == 0o755
    FaissStore(tmp_path / "made").close()
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o700


def test_a_directory_is_open_once(tmp_path: Path) -> None:
    store = FaissStore(tmp_path)
    with pytest.raises(DataDirectoryLocked):
        FaissStore(tmp_path)
    script = (
        "import sys, pathlib\n"
        "from index.store import FaissStore\n"
        "from index.types import DataDirectoryLocked\n"
        "try:\n    FaissStore(pathlib.Path(sys.argv[1]))\nexcept DataDirectoryLocked:\n    sys.exit(42)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    root = Path(__file__).parents[2]
    assert subprocess.run(command, cwd=root, timeout=120).returncode == 42
    store.close()
    store.close()
    assert subprocess.run(command, cwd=root, timeout=120).returncode == 0
    FaissStore(tmp_path).close()


def test_after_close_a_collection_answers_no_more(tmp_path: Path) -> None:
    store = FaissStore(tmp_path)
    store.create("things", 8, "m")
    store.close()
    with pytest.raises(UnknownCollection):
        store.upsert("things", [document("a")])


def test_a_full_disk_is_reported_and_loses_nothing(store: FaissStore, tmp_path: Path) -> None:
    store.upsert("things", [document("a", "before")])
    connection = store._collection("things")._log._writer
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")  # SQLite then says that the disk is full
    large = Image(os.urandom(200_000), "image/png")
    with pytest.raises(StorageError, match="full"):
        store.upsert("things", [document("a", "after"), document("b", image=large)])
    assert store.get_document("things", "a").text == "before"
    assert [hit.document.text for hit in store.search("things", vector_of("after"), 5)] == ["before"]
    connection.execute("PRAGMA max_page_count = 1000000")
    store.upsert("things", [document("a", "after"), document("b", image=large)])
    assert store.get_image("things", "b") == large
    assert store.get("things").count == 2


def test_a_file_in_place_of_the_directory_is_reported(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(StorageError):
        FaissStore(tmp_path / "data")


def test_a_write_cut_short_before_its_view_is_shown_is_searched_all_the_same(
    store: FaissStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.upsert("things", [document("a", "old"), document("b")])
    journal = store._collection("things")._log._journal  # written between the commit and the view

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(journal, "wrote", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.upsert("things", [document("a", "new")])
    assert {hit.document.text for hit in store.search("things", vector_of("a"), 5)} == {"new", None}
    store.delete_document("things", "b")
    assert [hit.document.text for hit in store.search("things", vector_of("a"), 5)] == ["new"]


def test_a_replacement_that_the_disk_refuses_leaves_both_collections(
    store: FaissStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store.upsert("things", [document("old")])
    store.create("staged", 8, "m")
    store.upsert("staged", [document("new")])

    def refuse(source: str, name: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path))

    with monkeypatch.context() as patch:
        patch.setattr(store._folders, "rename", refuse)
        with pytest.raises(StorageError, match=r"No space left on device\.$"):
            store.replace("things", "staged")
    assert [info.count for info in store.list()] == [1, 1]
    store.replace("things", "staged")
    assert store.existing_ids("things", ["old", "new"]) == {"new"}
