from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from index import store as store_module
from index.checkpoint import CHECKPOINT_BYTES
from index.locks import CallsUnderWay, NameLocks
from index.log_snapshot import LogReads
from index.store import FaissStore
from index.types import DamagedLog, Document, UnknownCollection, UnknownDocument, VectorStore
from tests.index.documents import document, vector_of


def test_readers_see_whole_writes_and_no_deleted_document(store: FaissStore) -> None:
    """Batches carry one version each; "gone" documents are deleted for good, one after another."""
    fixed = [f"fixed-{number}" for number in range(20)]
    gone = [f"gone-{number}" for number in range(60)]
    store.upsert("things", [document(name, name, version=0) for name in fixed] + [document(g) for g in gone])
    deleted = 0  # how many of `gone` are acknowledged as deleted
    finished = threading.Event()

    def write() -> None:
        nonlocal deleted
        try:
            for version, name in enumerate(gone, start=1):
                store.upsert("things", [document(f, f, version=version) for f in fixed])
                store.delete_document("things", name)
                deleted += 1
        finally:
            finished.set()

    def read(query: str) -> int:
        searches = 0
        while not finished.is_set() or not searches:
            surely_gone = set(gone[:deleted])
            hits = store.search("things", vector_of(query), 1000)
            found = {hit.document.id for hit in hits}
            assert found.isdisjoint(surely_gone)
            assert found.issuperset(fixed)
            assert len(found) == len(hits)
            assert len({hit.document.metadata.get("version") for hit in hits} - {None}) == 1
            assert hits[0].document.id == query or query not in fixed
            [filtered] = store.search("things", vector_of(query), 1, {"version": {"exists": True}})
            assert store.get_document("things", filtered.document.id).text == filtered.document.id
            searches += 1
        return searches

    with ThreadPoolExecutor(5) as pool:
        readers = [pool.submit(read, query) for query in ("fixed-1", "fixed-2", "other", "gone-59")]
        pool.submit(write).result()
        assert all(reader.result() > 0 for reader in readers)
    assert store.get("things").count == len(fixed)


def test_writers_from_many_threads_lose_nothing(any_store: VectorStore) -> None:
    def write(thread: int) -> None:
        for number in range(15):
            any_store.upsert("things", [document(f"{thread}-{number}"), document("shared", str(thread))])
            if number % 3 == 0:
                any_store.delete_document("things", f"{thread}-{number}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    expected = {f"{thread}-{number}" for thread in range(4) for number in range(15) if number % 3} | {
        "shared"
    }
    assert {hit.document.id for hit in any_store.search("things", vector_of("x"), 1000)} == expected


def test_dropping_under_load_fails_calls_cleanly(any_store: VectorStore) -> None:
    def until_dropped(call: Callable[[], object]) -> bool:
        while True:
            try:
                call()
            except UnknownCollection:
                return True
            except UnknownDocument:
                pass

    any_store.upsert("things", [document("a")])
    calls: list[Callable[[], object]] = [
        lambda: any_store.search("things", vector_of("a"), 3),
        lambda: any_store.get_document("things", "a"),
        lambda: any_store.upsert("things", [document("b")]),
        lambda: any_store.delete_document("things", "b"),
    ]
    with ThreadPoolExecutor(len(calls)) as pool:
        pending = [pool.submit(until_dropped, call) for call in calls]
        any_store.drop("things")
        assert all(future.result() for future in pending)
    assert any_store.create("things", 8, "a-model").count == 0


def test_closing_waits_for_the_calls_under_way_and_lets_no_more_in() -> None:
    calls = CallsUnderWay()
    inside, leave = threading.Barrier(3), threading.Event()

    def call() -> None:
        with calls.enter(RuntimeError):
            inside.wait(timeout=60)  # passes only if both calls and the test are here at once
            leave.wait(timeout=60)

    with ThreadPoolExecutor(3) as pool:
        pending = [pool.submit(call) for _ in range(2)]
        inside.wait(timeout=60)
        closing = pool.submit(calls.close)
        while True:
            try:
                with calls.enter(RuntimeError):
                    pass
            except RuntimeError:
                break  # it is closed for new calls, while two are under way
        assert not closing.done()
        leave.set()
        for future in pending:
            future.result()
        assert closing.result() is True
    assert calls.close() is False


def test_a_call_that_fails_is_counted_out() -> None:
    calls = CallsUnderWay()
    with pytest.raises(KeyError), calls.enter(RuntimeError):
        raise KeyError
    assert calls.close() is True


def test_a_search_never_waits_for_a_write(store: FaissStore) -> None:
    """Writers are held up in the middle of a commit; searches go on with what was acknowledged."""
    store.upsert("things", [document("a"), document("b")])
    collection = store._collection("things")
    writing, go_on = threading.Event(), threading.Event()
    wrote = collection._log._journal.wrote

    def slow(*arguments: object) -> None:
        writing.set()
        go_on.wait(timeout=60)
        wrote(*arguments)

    collection._log._journal.wrote = slow  # type: ignore[method-assign, assignment]
    with ThreadPoolExecutor(1) as pool:
        write = pool.submit(store.upsert, "things", [document("b", "other"), document("c")])
        writing.wait(timeout=60)
        found = {hit.document.id: hit.document.text for hit in store.search("things", vector_of("a"), 9)}
        assert not write.done()
        assert found == {"a": None, "b": "other", "c": None}  # committed, though not acknowledged yet
        assert store.existing_ids("things", ["b", "c", "d"]) == {"b", "c"}
        go_on.set()
        write.result()
    assert store.get("things").count == 3


def test_a_document_deleted_while_a_search_reads_is_neither_found_nor_damage(
    store: FaissStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search has taken its view, and finds a row of it gone from the log."""
    store.upsert("things", [document("a"), document("b", "second"), document("c", "third")])
    collection = store._collection("things")
    documents = LogReads.documents
    late = ["b", "c"]

    def after_a_delete(log: LogReads, rows: Sequence[int]) -> dict[int, Document]:
        if late:
            store.delete_document("things", late.pop())
        return documents(log, rows)

    monkeypatch.setattr(LogReads, "documents", after_a_delete)
    assert {hit.document.id for hit in store.search("things", vector_of("a"), 9)} == {"a", "b"}
    assert (
        not late
    )  # once before the view's documents were read, once in the read of one change that followed
    assert {hit.document.id for hit in store.search("things", vector_of("a"), 9)} == {"a"}
    assert store._collection("things") is collection  # nothing was taken for damage and salvaged


def test_a_change_that_was_cut_short_after_its_commit_is_found(
    store: FaissStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.upsert("things", [document("a")])
    with monkeypatch.context() as failing:
        failing.setattr(store._collection("things")._log._journal, "wrote", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store.upsert("things", [document("b")])
    assert {hit.document.id for hit in store.search("things", vector_of("a"), 9)} == {"a", "b"}


def test_a_write_returns_while_the_log_is_emptied_and_the_next_one_waits_for_that(store: FaissStore) -> None:
    checkpointer = store._collection("things")._log._checkpointer
    checkpointer._due_at = 0
    emptying, go_on = threading.Event(), threading.Event()
    run = checkpointer.run

    def slow() -> None:
        emptying.set()
        assert go_on.wait(timeout=60)
        run()

    checkpointer.run = slow  # type: ignore[method-assign]
    store.upsert("things", [document("a")])
    assert emptying.wait(timeout=60)
    assert checkpointer.wal_bytes()
    assert [hit.document.id for hit in store.search("things", vector_of("a"), 9)] == ["a"]
    with ThreadPoolExecutor(2) as pool:
        pending = [pool.submit(store.upsert, "things", [document("b")])]
        pending.append(pool.submit(store.delete_document, "things", "a"))
        assert not any(future.done() for future in pending)
        go_on.set()
        for future in pending:
            future.result(60)
    assert {hit.document.id for hit in store.search("things", vector_of("a"), 9)} == {"b"}
    assert checkpointer._due_at == CHECKPOINT_BYTES  # the log was empty, and grows until it is due again


def test_what_is_written_while_the_log_is_emptied_again_and_again_is_there_after_reopening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.checkpoint.CHECKPOINT_BYTES", 1)
    store = FaissStore(tmp_path / "data")
    store.create("things", 8, "m")
    with ThreadPoolExecutor(4) as pool:
        names = [f"doc-{number}" for number in range(80)]
        for future in [pool.submit(store.upsert, "things", [document(name, name)]) for name in names]:
            future.result()
    store.close()
    with closing(FaissStore(tmp_path / "data")) as again:
        assert {hit.document.id for hit in again.search("things", vector_of("any"), 100)} == set(names)
        assert not again.verify("things").damage


def test_a_search_meets_no_writer_while_the_disk_works(store: FaissStore) -> None:
    store.upsert("things", [document("a"), document("b")])
    collection = store._collection("things")
    with collection._writing:  # as a writer does, through the whole of its work
        assert [hit.document.id for hit in store.search("things", vector_of("a"), 1)] == ["a"]
        assert store.get_document("things", "b").id == "b"
        assert store.get("things").count == 2


@pytest.mark.parametrize("work", ["backup", "verify"])
def test_a_drop_does_not_wait_for_what_reads_everything(
    store: FaissStore, work: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waited behind the drop would hold up every other collection."""
    store.upsert("things", [document(f"doc-{n}", "long " * 4000) for n in range(400)])
    log = store._collection("things")._log
    begun, calls = threading.Event(), getattr(log, work)

    def begin(*arguments: Any) -> Any:
        begun.set()
        assert closing.wait(30)
        return calls(*arguments)

    monkeypatch.setattr(log, work, begin)
    closing = threading.Event()
    enter = store._collection("things")._calls
    with ThreadPoolExecutor(2) as pool:
        target = [tmp_path / "file"] if work == "backup" else []
        reading = pool.submit(getattr(store, work), "things", *target)
        assert begun.wait(30)
        dropping = pool.submit(store.drop, "things")
        while not enter.closed:
            time.sleep(0.001)
        closing.set()
        dropping.result(30)
        with pytest.raises(UnknownCollection):
            reading.result(30)
    assert list(tmp_path.glob("file*")) == []


def test_a_salvage_holds_up_its_own_collection_alone(
    store: FaissStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    salvage, begun, go_on = store_module.salvage_collection, threading.Event(), threading.Event()

    def slow(*arguments: Any) -> None:
        begun.set()
        assert go_on.wait(60)
        salvage(*arguments)

    monkeypatch.setattr(store_module, "salvage_collection", slow)
    store.upsert("things", [document("a"), document("b")])
    collection = store._collection("things")
    with ThreadPoolExecutor(3) as pool:
        mending = pool.submit(store._mend, "things", collection, DamagedLog("said the test."))
        assert begun.wait(60)
        waiting = [
            pool.submit(store.search, "things", vector_of("a"), 1),
            pool.submit(store.upsert, "things", [document("c")]),
        ]
        store.create("others", 8, "m")
        store.upsert("others", [document("d")])
        assert [hit.document.id for hit in store.search("others", vector_of("d"), 1)] == ["d"]
        assert [(info.name, info.count) for info in store.list()] == [("others", 1), ("things", 2)]
        store.drop("others")
        assert not mending.done()
        assert not any(call.done() for call in waiting)
        go_on.set()
        mending.result()
        [hit] = waiting[0].result()
        waiting[1].result()
    assert hit.document.id == "a"
    assert store.get("things").count == 3
    assert store._collection("things") is not collection


def test_names_are_held_one_by_one_and_all_at_once() -> None:
    names, inside, leave = NameLocks(), threading.Barrier(3), threading.Event()
    held: list[str] = []

    def hold(*wanted: str) -> None:
        with names.holding(*wanted):
            inside.wait(timeout=60)  # passes only if two holders and the test are here at once
            assert leave.wait(60)
            held.extend(wanted)

    with ThreadPoolExecutor(4) as pool:
        first = [pool.submit(hold, "a", "b"), pool.submit(hold, "c")]
        inside.wait(timeout=60)

        def hold_all() -> list[str]:
            with names.holding_all():
                return list(held)

        everything = pool.submit(hold_all)
        assert not everything.done()
        leave.set()
        assert sorted(everything.result()) == ["a", "b", "c"]
        for holder in first:
            holder.result()
    with names.holding("a"), names.holding("b"):
        pass
