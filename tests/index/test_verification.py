"""Large logs, which opening does not verify as a whole: what is noticed at once, and what soon after."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from index.collection import LOG_FILE, SNAPSHOT_FILE
from index.log import DocumentLog
from index.schema import PAGE_SIZE
from index.store import FaissStore
from index.types import InvalidInput
from tests.index.damage import INDEX_LEAF, check_damaged, pages_of
from tests.index.documents import document

TEXTS = {f"doc-{number}": f"text {number}" for number in range(60)}
HIDDEN = "doc-37"


@pytest.fixture
def misleading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory whose index of ids has a flipped bit, which opening does not look for."""
    store = FaissStore(tmp_path)
    store.create("things", 8, "m")
    store.upsert("things", [document(name, text) for name, text in TEXTS.items()])
    store.close()
    log = tmp_path / "collections" / "things" / LOG_FILE
    [leaf] = pages_of(log, INDEX_LEAF)
    content = bytearray(log.read_bytes())
    content[content.index(HIDDEN.encode(), leaf, leaf + PAGE_SIZE)] ^= 0x10
    log.write_bytes(content)
    monkeypatch.setattr("index.log.VERIFIED_AT_OPENING", 0)
    return tmp_path


def test_vectors_that_a_large_log_has_lost_are_noticed_at_opening(misleading: Path) -> None:
    """No row of those that are read is unsound; there are only fewer of them."""
    files = misleading / "collections" / "things"
    with closing(sqlite3.connect(files / LOG_FILE)) as log:
        log.execute("DELETE FROM vectors WHERE row = 12")
        log.commit()
    (files / SNAPSHOT_FILE).unlink()
    store = FaissStore(misleading)
    assert [loss.id for loss in store.verify("things").losses] == ["doc-11"]
    assert check_damaged(store, "things", TEXTS) == {"doc-11"}
    store.close()


@pytest.fixture
def let_check(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """The check of the ids waits until this is set."""
    wanted = threading.Event()
    check = DocumentLog.check_ids

    def late(log: DocumentLog, stopping: Callable[[], bool]) -> None:
        assert wanted.wait(timeout=60)
        check(log, stopping)

    monkeypatch.setattr(DocumentLog, "check_ids", late)
    return wanted


def test_it_is_noticed_after_opening_and_the_next_call_has_it_mended_at_no_loss(
    misleading: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = FaissStore(misleading)
    damage = store._collection("things").settled().damage
    assert damage is not None
    assert "documents_1" in damage  # SQLite's name for the index
    assert [info.damage for info in store.list()] == [damage]
    assert "`solomon index verify things --repair`" in caplog.text
    assert store.get_document("things", HIDDEN).text == TEXTS[HIDDEN]
    assert (store.get("things").damage, store.get("things").lost) == (None, 0)
    store.upsert("things", [document(HIDDEN, "again")])
    assert check_damaged(store, "things", {**TEXTS, HIDDEN: "again"}) == set()
    store.close()


@pytest.mark.parametrize("repair", [False, True])
def test_verifying_it_repairs_only_when_asked(misleading: Path, repair: bool) -> None:
    store = FaissStore(misleading)
    known = store._collection("things").settled().damage
    found = store.verify("things", repair=repair)
    assert any("documents_1" in damage for damage in found.damage)
    assert store.get("things").damage == (None if repair else known)
    store.close()


def test_what_was_written_before_it_was_noticed_is_what_counts(
    misleading: Path, let_check: threading.Event
) -> None:
    store = FaissStore(misleading)
    store.upsert("things", [document(HIDDEN, "again")])
    let_check.set()
    assert store._collection("things").settled().damage is not None
    with pytest.raises(InvalidInput):
        store.upsert("things", [document("")])
    assert check_damaged(store, "things", {**TEXTS, HIDDEN: "again"}) == set()
    store.close()


def test_a_check_that_closing_cuts_short_is_no_failure(
    misleading: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("index.log._STEPS", 1)
    check = DocumentLog.check_ids

    def closing_meanwhile(log: DocumentLog, stopping: Callable[[], bool]) -> None:
        stopping.__self__.set()  # type: ignore[attr-defined] # what closing does first
        check(log, stopping)

    monkeypatch.setattr(DocumentLog, "check_ids", closing_meanwhile)
    store = FaissStore(misleading)
    assert store._collection("things").settled().damage is None
    assert store._collection("things")._log.ids_unchecked
    assert "upkeep of collection" not in caplog.text
    store.close()
