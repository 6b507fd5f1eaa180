"""Logs of format 1 open under the present format, whatever interrupts that; newer ones are refused."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from index import migration
from index.collection import LOG_FILE
from index.folders import Folders
from index.store import FaissStore
from index.types import Image, UnusableCollection
from tests.index.documents import document
from tests.index.format_1 import SCHEMA, make_format_1

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *(document(f"doc-{number}", f"text {number}", year=number) for number in range(40)),
    document("pictured", image=Image(b"\x89PNG picture", "image/png"), tags=["a", "b"]),
    document("bare"),
]


def format_of(log: Path) -> int:
    connection = sqlite3.connect(log)
    (found,) = connection.execute("SELECT format FROM collection").fetchone()
    connection.close()
    return int(found)


def check(store: FaissStore) -> None:
    info = store.get("old")
    assert (info.count, info.dimensions, info.model, info.lost) == (len(DOCUMENTS), 8, "m", 0)
    assert store.verify("old").damage == []
    for expected in DOCUMENTS:
        found = store.get_document("old", expected.id)
        assert (found.text, found.metadata) == (expected.text, expected.metadata)
        hit = store.search("old", expected.vector, 1)[0]
        assert (hit.document.id, hit.score) == (expected.id, pytest.approx(1.0, abs=1e-6))
    assert store.get_image("old", "pictured") == Image(b"\x89PNG picture", "image/png")


def test_format_1_opens_and_goes_on_as_format_2(tmp_path: Path) -> None:
    log = tmp_path / "collections" / "old" / LOG_FILE
    make_format_1(log, DOCUMENTS)
    store = FaissStore(tmp_path)
    check(store)
    store.upsert("old", [document("doc-1", "changed"), document("new")])
    store.delete_document("old", "bare")
    store.close()
    assert format_of(log) == 2
    store = FaissStore(tmp_path)
    assert store.get("old").count == len(DOCUMENTS)
    assert store.get_document("old", "doc-1").text == "changed"
    assert store.existing_ids("old", ["bare", "new"]) == {"new"}
    store.close()


def test_a_migration_that_is_killed_is_done_again(tmp_path: Path) -> None:
    """The process ends by SIGKILL after so many records, and right before and after the renames."""
    log = tmp_path / "collections" / "old" / LOG_FILE
    make_format_1(log, DOCUMENTS)
    for killed_at in ("record 1", "record 30", "finish", "move 0", "move 1"):
        command = [sys.executable, "-m", "tests.index.kill_migration", str(tmp_path), killed_at]
        done = subprocess.run(command, cwd=ROOT, check=False)
        assert done.returncode == -signal.SIGKILL
    store = FaissStore(tmp_path)
    check(store)
    store.close()
    assert list((tmp_path / "staging").iterdir()) == []


def test_a_replacement_that_was_decided_is_finished_at_the_next_opening(tmp_path: Path) -> None:
    make_format_1(tmp_path / "collections" / "old" / LOG_FILE, [document("outdated")])
    folders = Folders(tmp_path)
    migration.migrate(tmp_path / "collections" / "old" / LOG_FILE, folders.stage() / LOG_FILE)
    [staged] = (tmp_path / "staging").iterdir()
    make_format_1(tmp_path / "other" / LOG_FILE, DOCUMENTS)
    migration_target = staged.with_name("old.restored")
    staged.rename(migration_target)
    (migration_target / LOG_FILE).unlink()
    migration.migrate(tmp_path / "other" / LOG_FILE, migration_target / LOG_FILE)
    store = FaissStore(tmp_path)
    check(store)
    store.close()


def test_a_newer_format_is_refused_and_the_others_open(tmp_path: Path) -> None:
    log = tmp_path / "collections" / "new" / LOG_FILE
    make_format_1(log, DOCUMENTS, format=3)
    make_format_1(tmp_path / "collections" / "old" / LOG_FILE, DOCUMENTS)
    before = log.read_bytes()
    store = FaissStore(tmp_path)
    check(store)
    with pytest.raises(UnusableCollection, match=r"format 3; this version reads formats 1 to 2.*newer"):
        store.get("new")
    store.close()
    assert log.read_bytes() == before


def test_a_damaged_log_of_format_1_is_left_as_it_is(tmp_path: Path) -> None:
    """It has no checksums by which to tell what is sound."""
    log = tmp_path / "collections" / "old" / LOG_FILE
    make_format_1(log, DOCUMENTS)
    connection = sqlite3.connect(log)
    connection.execute("UPDATE vectors SET vector = x'00' WHERE row = 5")
    connection.commit()
    connection.close()
    store = FaissStore(tmp_path)
    with pytest.raises(UnusableCollection, match="cannot be served"):
        store.get("old")
    store.close()
    assert format_of(log) == 1
    assert os.listdir(tmp_path / "collections") == ["old"]


def test_the_schema_of_format_1_is_what_the_first_version_wrote() -> None:
    assert migration.SCHEMA_1 == SCHEMA
