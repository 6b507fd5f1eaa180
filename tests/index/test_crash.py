"""Killing the process at any instant loses nothing acknowledged and brings back nothing deleted.

Flipped bits on top of that may cost documents; these are named, and nothing else changes. The tests know
every acknowledged write. SOLOMON_CRASH_ROUNDS makes them longer than they are by default.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from index.store import FaissStore
from index.types import UnknownDocument
from tests.index.damage import check_damaged, cut_short, flip_bits
from tests.index.documents import vector_of

ROUNDS = int(os.environ.get("SOLOMON_CRASH_ROUNDS", "6"))
ROOT = Path(__file__).parents[2]

Texts = dict[str, str | None]  # by id; None: deleted


def run_and_kill(folder: Path, round_number: int, calls: int, delay: float) -> list[Any]:
    """Kill a writer `delay` seconds after it has said that `calls` calls returned; return what it said."""
    command = [sys.executable, "-m", "tests.index.crash_writer", str(folder), str(round_number)]
    said: list[Any] = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            said.append(json.loads(line))
            if said.count(["done"]) == calls:
                break
        time.sleep(delay)
        writer.kill()
        rest = writer.stdout.read().splitlines(keepends=True)
    assert writer.returncode == -signal.SIGKILL, "the writer ended by itself"
    return said + [json.loads(line) for line in rest if line.endswith("\n")]


def intended(call: Any) -> Texts:
    name, ids, *version = call
    match name:
        case "try put":
            return {document_id: f"{document_id}@{version[0]}" for document_id in ids}
        case "try delete":
            return dict.fromkeys(ids)
        case _:
            return {}


def replay(said: list[Any], expected: Texts, side: bool) -> tuple[bool, Any]:
    """Apply what was acknowledged; return whether "side" exists and the call that was under way, if any."""
    pending = None
    for line in said[1:]:
        if line == ["done"]:
            assert pending is not None
            expected |= intended(pending)
            side = {"try create": True, "try drop": False}.get(pending[0], side)
            pending = None
        else:
            pending = line
    return side, pending


def check(store: FaissStore, expected: Texts) -> None:
    live = {document_id: text for document_id, text in expected.items() if text is not None}
    served = store.search("things", vector_of("anything"), 1000)
    assert {hit.document.id: hit.document.text for hit in served} == live
    assert len(served) == store.get("things").count == len(live)
    assert store.existing_ids("things", list(expected)) == set(live)
    for document_id, text in expected.items():
        if text is None:
            with pytest.raises(UnknownDocument):
                store.get_document("things", document_id)
        else:
            assert store.get_document("things", document_id).text == text
            [hit] = store.search("things", vector_of(text), 1)
            assert (hit.document.id, hit.score) == (document_id, pytest.approx(1.0, abs=1e-6))


def happened(store: FaissStore, pending: Any) -> Texts:
    """What the call that was under way has done: all of it or nothing."""
    after = {} if pending is None else intended(pending)
    found = {hit.document.id: hit.document.text for hit in store.search("things", vector_of("x"), 1000)}
    return after if all(found.get(document_id) == text for document_id, text in after.items()) else {}


def test_kill_9_loses_nothing_acknowledged_and_resurrects_nothing(tmp_path: Path) -> None:
    choose = random.Random()
    expected: Texts = {}
    side = False
    deletes = 0
    for round_number in range(ROUNDS):
        said = run_and_kill(tmp_path, round_number, choose.randint(5, 60), choose.uniform(0, 0.02))
        deletes += sum(call[0] == "try delete" for call in said)
        side, pending = replay(said, expected, side)
        store = FaissStore(tmp_path, snapshot_every=25)
        expected |= happened(store, pending)
        exists = any(info.name == "side" for info in store.list())
        assert exists == side or (pending is not None and pending[0] in ("try create", "try drop"))
        side = exists
        check(store, expected)
        store.close()
    assert deletes  # most of the ids are written again before the end


DAMAGED_FILES = ("documents.sqlite3", "documents.sqlite3-wal", "changes.journal", "view.snapshot")


def test_kill_9_and_damaged_files_cost_what_is_named_and_bring_nothing_back(tmp_path: Path) -> None:
    """Each round kills a writer, then damages copies of what it left; the undamaged files go on."""
    seed = random.randrange(2**32)
    print("seed", seed)  # shown if the test fails
    choose = random.Random(seed)
    expected: Texts = {}
    live = tmp_path / "live"
    damaged_rounds = 0
    for round_number in range(ROUNDS):
        said = run_and_kill(live, round_number, choose.randint(20, 60), choose.uniform(0, 0.02))
        _, pending = replay(said, expected, side=False)
        shutil.copytree(live, tmp_path / "left")
        undecided = {} if pending is None else intended(pending)
        undamaged = FaissStore(live, snapshot_every=25)
        done = happened(undamaged, pending)
        undamaged.close()
        for name in DAMAGED_FILES:
            shutil.copytree(tmp_path / "left", tmp_path / "copy")
            file = tmp_path / "copy" / "collections" / "things" / name
            if file.exists() and file.stat().st_size:
                damaged_rounds += 1
                choose.choice([flip_bits, flip_bits, cut_short])(file, choose)
            store = FaissStore(tmp_path / "copy", snapshot_every=25)
            check_damaged(store, "things", expected, undecided)
            store.close()
            shutil.rmtree(tmp_path / "copy")
        shutil.rmtree(tmp_path / "left")
        expected |= done
    assert damaged_rounds >= 2 * ROUNDS
