from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from index.locks import ReadWriteLock
from index.store import FaissStore
from index.types import UnknownCollection, UnknownDocument
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


def test_writers_from_many_threads_lose_nothing(store: FaissStore) -> None:
    def write(thread: int) -> None:
        for number in range(15):
            store.upsert("things", [document(f"{thread}-{number}"), document("shared", str(thread))])
            if number % 3 == 0:
                store.delete_document("things", f"{thread}-{number}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    expected = {f"{thread}-{number}" for thread in range(4) for number in range(15) if number % 3} | {
        "shared"
    }
    assert {hit.document.id for hit in store.search("things", vector_of("x"), 1000)} == expected


def test_dropping_under_load_fails_calls_cleanly(store: FaissStore) -> None:
    def until_dropped(call: Callable[[], object]) -> bool:
        while True:
            try:
                call()
            except UnknownCollection:
                return True
            except UnknownDocument:
                pass

    store.upsert("things", [document("a")])
    calls: list[Callable[[], object]] = [
        lambda: store.search("things", vector_of("a"), 3),
        lambda: store.get_document("things", "a"),
        lambda: store.upsert("things", [document("b")]),
        lambda: store.delete_document("things", "b"),
    ]
    with ThreadPoolExecutor(len(calls)) as pool:
        pending = [pool.submit(until_dropped, call) for call in calls]
        store.drop("things")
        assert all(future.result() for future in pending)
    assert store.create("things", 8, "a-model").count == 0


def test_readers_share_the_lock_and_a_writer_is_alone() -> None:
    lock = ReadWriteLock()
    together = threading.Barrier(3)
    inside = 0

    def read() -> None:
        with lock.read():
            together.wait(timeout=60)  # passes only if all three readers are in at once
            assert not inside

    def write() -> None:
        nonlocal inside
        for _ in range(200):
            with lock.write():
                inside += 1
                assert inside == 1
                inside -= 1

    with ThreadPoolExecutor(5) as pool:
        for future in [pool.submit(read) for _ in range(3)]:
            future.result()
        for future in [pool.submit(write) for _ in range(2)]:
            future.result()


def test_a_failing_holder_lets_go() -> None:
    lock = ReadWriteLock()
    for hold in (lock.read, lock.write):
        with pytest.raises(RuntimeError), hold():
            raise RuntimeError
    with lock.write():
        pass
