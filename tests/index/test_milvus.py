"""What only the store in Milvus does: several stores on one database, failures between requests, outages."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
from pymilvus.exceptions import MilvusException

from index.milvus.collection import MilvusCollection
from index.milvus.parts import PART_BYTES
from index.milvus.store import MilvusStore
from index.types import (
    CollectionExists,
    CollectionHeld,
    DataDirectoryLocked,
    Image,
    InvalidInput,
    NewDocument,
    OtherModel,
    StorageError,
    StoreUnreachable,
    UnknownCollection,
    UnknownDocument,
)
from tests.index.documents import document, vector_of
from tests.index.milvus_server import free_port, milvus_server

Result = TypeVar("Result")

LARGE = Image(b"0123456789" * 12_000, "image/png")  # three parts


def part_keys(store: MilvusStore) -> set[str]:
    """The primary keys of every part that lies in the collection "things"."""
    collection = store._collection("things")
    rows = store._connection.call(
        "query", collection._parts._collection, filter='key >= ""', output_fields=["key"]
    )
    return {row["key"] for row in rows}


def test_stores_on_one_database_share_it_at_once(milvus_store: MilvusStore, milvus_uri: str) -> None:
    other = MilvusStore(milvus_uri)
    milvus_store.upsert("things", [document("a", "text", LARGE, kind="x")])
    assert [hit.document.id for hit in other.search("things", vector_of("text"), 3)] == ["a"]
    assert other.get_image("things", "a") == LARGE
    other.upsert("things", [document("b")])
    other.delete_document("things", "a")
    assert [hit.document.id for hit in milvus_store.search("things", vector_of("b"), 3)] == ["b"]
    other.drop("things")
    with pytest.raises(UnknownCollection):
        milvus_store.upsert("things", [document("c")])
    other.create("things", 3, "another")
    assert milvus_store.get("things").dimensions == 3
    milvus_store.upsert("things", [NewDocument("c", vector_of("c", 3))])
    assert other.existing_ids("things", ["a", "c"]) == {"c"}
    other.close()


def test_writes_of_every_store_are_held_while_one_rebuilds(
    milvus_store: MilvusStore, milvus_uri: str
) -> None:
    other = MilvusStore(milvus_uri)
    milvus_store.upsert("things", [document("a")])
    milvus_store.hold_writes("things", 600, "a rebuild")
    for store in (milvus_store, other):
        with pytest.raises(CollectionHeld, match="being rebuilt"):
            store.upsert("things", [document("b")])
        with pytest.raises(CollectionHeld):
            store.delete_document("things", "a")
        assert store.existing_ids("things", ["a", "b"]) == {"a"}
        assert [hit.document.id for hit in store.search("things", vector_of("a"), 3)] == ["a"]
    milvus_store.hold_writes("things", 0, "a rebuild")
    other.upsert("things", [document("b")])
    milvus_store.hold_writes("things", 0.001, "a rebuild")  # whoever held it has died
    time.sleep(0.01)
    other.delete_document("things", "a")
    assert milvus_store.existing_ids("things", ["a", "b"]) == {"b"}
    assert other.get("things").model == "a-model"
    other.close()


def test_a_hold_is_its_holders_alone(milvus_store: MilvusStore, milvus_uri: str) -> None:
    other = MilvusStore(milvus_uri)
    milvus_store.hold_writes("things", 600, "one")
    for seconds in (600, 0):  # neither taken over nor given up
        with pytest.raises(CollectionHeld, match="being rebuilt"):
            other.hold_writes("things", seconds, "another")
    with pytest.raises(CollectionHeld):
        other.upsert("things", [document("a")])
    milvus_store.hold_writes("things", 600, "one")
    milvus_store.hold_writes("things", 0, "one")
    other.hold_writes("things", 600, "another")
    other.close()


@pytest.mark.parametrize("then", ["replace", "drop"])
def test_a_replacement_cut_short_loses_nothing_when_it_is_done_again_or_dropped(
    milvus_store: MilvusStore, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    milvus_store.create("staged", 8, "another-model")
    milvus_store.upsert("staged", [document("b")])
    call = milvus_store._connection.call

    def unreachable(what: str, *arguments: Any, **options: Any) -> Any:
        if what == "drop_alias":
            raise StoreUnreachable("gone")
        return call(what, *arguments, **options)

    with monkeypatch.context() as cut:
        cut.setattr(milvus_store._connection, "call", unreachable)
        with pytest.raises(StoreUnreachable):
            milvus_store.replace("things", "staged")
    if then == "replace":
        milvus_store.replace("things", "staged")
    else:
        milvus_store.drop("staged")
    assert [info.name for info in milvus_store.list()] == ["things"]
    assert milvus_store.existing_ids("things", ["a", "b"]) == {"b"}
    assert milvus_store.get("things").model == "another-model"


def _hold(store: MilvusStore) -> None:
    store.hold_writes("things", 600, "a rebuild")


def _replace(store: MilvusStore) -> None:
    store.create("staged", 8, "another-model")
    store.replace("things", "staged")


@pytest.mark.parametrize("meanwhile", [_hold, _replace])
def test_a_write_that_a_rebuild_overtakes_is_not_acknowledged(
    milvus_store: MilvusStore, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[MilvusStore], None]
) -> None:
    """It found the collection before the rebuild began, and wrote when that had read it."""
    upsert = MilvusCollection.upsert

    def overtaken(collection: MilvusCollection, documents: Sequence[NewDocument]) -> None:
        monkeypatch.undo()
        meanwhile(milvus_store)
        upsert(collection, documents)

    monkeypatch.setattr(MilvusCollection, "upsert", overtaken)
    with pytest.raises((CollectionHeld, OtherModel)):
        milvus_store.upsert("things", [document("late")], "a-model")
    if meanwhile is _replace:
        assert milvus_store.get("things").count == 0


def test_a_collection_that_many_make_at_once_is_one(milvus_store: MilvusStore, milvus_uri: str) -> None:
    other = MilvusStore(milvus_uri)

    def make(turn: int) -> Any:
        try:
            return (milvus_store, other)[turn % 2].create("raced", 8, f"model-{turn // 4}")
        except CollectionExists as error:
            return error

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(make, range(8)))
    [model] = {info.model for info in made if not isinstance(info, CollectionExists)}
    assert sum(isinstance(info, CollectionExists) for info in made) == 4
    assert milvus_store.get("raced").model == model
    assert len(other._data_names()) == 2  # of "things" and of "raced", and none that lost the race
    other.close()


def test_what_a_crash_left_half_made_is_not_seen(milvus_store: MilvusStore) -> None:
    milvus_store._connection.call("drop_alias", "solomon_name_things")
    assert milvus_store.list() == []
    with pytest.raises(UnknownCollection):
        milvus_store.get("things")
    milvus_store.create("things", 4, "anew")
    assert milvus_store.get("things").count == 0
    for data_name in milvus_store._data_names():
        milvus_store._remove(data_name)


def test_the_parts_of_replaced_and_deleted_documents_are_removed(milvus_store: MilvusStore) -> None:
    milvus_store.upsert("things", [document("a", image=LARGE), document("b", "x" * 50_000)])
    before = part_keys(milvus_store)
    assert len(before) == -(-len(LARGE.data) // PART_BYTES) + 2
    milvus_store.upsert("things", [document("a", image=LARGE)])
    after = part_keys(milvus_store)
    assert len(after) == len(before)
    assert len(after & before) == 2
    milvus_store.upsert("things", [document("a")])
    milvus_store.delete_document("things", "b")
    assert part_keys(milvus_store) == set()


@pytest.mark.parametrize("failing", ["upsert of parts", "upsert of documents", "delete of parts"])
def test_a_write_that_fails_on_the_way_leaves_whole_documents(
    milvus_store: MilvusStore, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    milvus_store.upsert("things", [document("a", "old", LARGE)])
    newer = Image(LARGE.data[::-1], "image/png")
    call = milvus_store._connection.call

    def failing_call(method: str, collection: str, *args: Any, **options: Any) -> Any:
        kind = "parts" if collection.startswith("solomon_parts_") else "documents"
        if f"{method} of {kind}" == failing:
            raise StorageError("no")
        return call(method, collection, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(milvus_store._connection, "call", failing_call)
        with pytest.raises(StorageError):
            milvus_store.upsert("things", [document("a", "new", newer)])
    text, image = ("new", newer) if failing == "delete of parts" else ("old", LARGE)
    assert milvus_store.get_document("things", "a").text == text
    assert milvus_store.get_image("things", "a") == image
    milvus_store.upsert("things", [document("a", "new", newer)])
    assert milvus_store.get_image("things", "a") == newer


def test_a_document_that_is_replaced_while_it_is_read_comes_back_whole(
    milvus_store: MilvusStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    milvus_store.upsert("things", [document("a", image=LARGE)])
    newer = Image(b"newer", "image/gif")
    collection = milvus_store._collection("things")
    row_of = collection._row
    replaced = False

    def row_then_replacement(document_id: str) -> Any:
        nonlocal replaced
        row = row_of(document_id)
        if not replaced:
            replaced = True
            milvus_store.upsert("things", [document("a", image=newer)])
        return row

    monkeypatch.setattr(collection, "_row", row_then_replacement)
    assert collection.image("a") == newer
    assert replaced


def test_what_milvus_cannot_hold_is_refused(milvus_store: MilvusStore) -> None:
    with pytest.raises(InvalidInput) as caught:
        milvus_store.create("wide", 32_769, "m")
    assert caught.value.field == "dimensions"
    with pytest.raises(InvalidInput) as caught:
        milvus_store.upsert("things", [document("a"), document("b", image=Image(b"", "x" * 66_000))])
    assert caught.value.field == "documents[1].image"
    assert milvus_store.get("things").count == 0


@pytest.mark.parametrize("kind", ["hnsw", "ivf_sq8"])
def test_other_kinds_of_index_find_the_same(milvus_store: MilvusStore, milvus_uri: str, kind: Any) -> None:
    other = MilvusStore(milvus_uri, index_kind=kind, consistency="Bounded")
    assert (other.create("more", 8, "m").index_kind, other.get("more").recall) == (kind, None)
    documents = [document(f"d{number}", n=number) for number in range(300)]
    for name in ("things", "more"):
        other.upsert(name, documents)
        other._connection.client.flush(other._collection(name).data_name)  # only then the index is built
    for query in ("one", "two", "three"):
        for wanted in (None, {"n": {"gte": 290}}):
            exact = milvus_store.search("things", vector_of(query), 10, wanted)
            found = other.search("more", vector_of(query), 10, wanted)
            assert [hit.document.id for hit in found] == [hit.document.id for hit in exact]
            assert [hit.score for hit in found] == pytest.approx([hit.score for hit in exact], abs=1e-6)
    other.close()


def test_what_a_search_cannot_settle_is_scanned(
    milvus_store: MilvusStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.milvus.neighbours._MAX_LIMIT", 32)
    undecided = [document(f"d{number:02}", years=[1990, 2020]) for number in range(60)]
    far = NewDocument("far", -vector_of("query"), metadata={"years": [1990, 2000]})
    milvus_store.upsert("things", [*undecided, far])
    between = {"years": {"gt": 1995, "lt": 2010}}
    assert [hit.document.id for hit in milvus_store.search("things", vector_of("query"), 5, between)] == [
        "far"
    ]
    wanted = {"years": {"gt": 1995}}
    hits = milvus_store.search("things", vector_of("query"), 5, wanted)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert len(milvus_store.search("things", vector_of("query"), 1000, wanted)) == 61
    monkeypatch.setattr("index.milvus.neighbours.MAX_WALKED", 50)
    with pytest.raises(InvalidInput, match="narrows") as caught:
        milvus_store.search("things", vector_of("query"), 5, between)
    assert caught.value.field == "filter"
    assert len(milvus_store.search("things", vector_of("query"), 20, wanted)) == 20


def test_more_ties_than_a_search_returns_are_ranked_among_those_returned(
    milvus_store: MilvusStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.milvus.neighbours._MAX_LIMIT", 32)
    milvus_store.upsert("things", [NewDocument(f"d{n:02}", vector_of("one")) for n in range(80)])
    hits = milvus_store.search("things", vector_of("one"), 10)
    assert len(hits) == 10
    assert [hit.document.id for hit in hits] == sorted(hit.document.id for hit in hits)


def test_no_call_of_a_listing_waits_for_ever(
    milvus_store: MilvusStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scrapes list the collections, whatever Milvus does."""
    connection, waits = milvus_store._connection, {}

    class Noting:
        def __getattr__(self, method: str) -> Callable[..., Any]:
            def call(*args: Any, **options: Any) -> Any:
                waits[method] = options.get("timeout")
                return getattr(client, method)(*args, **options)

            return call

    client = connection.client
    monkeypatch.setattr(connection, "client", Noting())
    assert [info.name for info in milvus_store.list()] == ["things"]
    assert len(waits) > 2
    assert set(waits.values()) == {connection.seconds}


def test_a_lite_database_belongs_to_one_process(tmp_path: Path) -> None:
    uri = str(tmp_path / "folder" / "lite.db")
    store = MilvusStore(uri)
    store.create("things", 8, "m")
    script = (
        "import sys\n"
        "from index.milvus.store import MilvusStore\n"
        "from index.types import DataDirectoryLocked\n"
        "try:\n    print(len(MilvusStore(sys.argv[1]).list()))\n"
        "except DataDirectoryLocked:\n    print('locked')\n"
    )
    command = [sys.executable, "-c", script, uri]

    def other_process() -> str:
        root = Path(__file__).parents[2]
        return subprocess.run(
            command, cwd=root, timeout=120, capture_output=True, text=True, check=True
        ).stdout.strip()

    assert other_process() == "locked"
    store.close()
    store.close()
    with pytest.raises(UnknownCollection):
        store.get("things")
    assert other_process() == "1"
    with pytest.raises(DataDirectoryLocked), lock_of_another(Path(uri)):
        MilvusStore(uri)


@contextmanager
def lock_of_another(database: Path) -> Iterator[None]:
    """Hold the database as another process would; the kernel's lock is one of open files."""
    import fcntl

    with open(database / "LOCK", "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def once_reachable(call: Callable[[], Result]) -> Result:
    """What a call returns when gRPC has found the server again."""
    for _ in range(600):
        try:
            return call()
        except StoreUnreachable:
            time.sleep(0.1)
    return call()


def test_without_the_client_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(StorageError, match="the extra `milvus`; `solomon doctor`"):
        MilvusStore(str(tmp_path / "lite.db"))


@pytest.mark.parametrize(
    ("error", "told", "message"),
    [
        (MilvusException(65535, "node offline", retriable=True), StoreUnreachable, "not ready: node offline"),
        (MilvusException(2, "service unavailable"), StoreUnreachable, "does not answer"),
        (MilvusException(grpc.StatusCode.UNAVAILABLE, "gone"), StoreUnreachable, "does not answer"),
        (MilvusException(grpc.StatusCode.UNAUTHENTICATED, "no"), StorageError, "SOLOMON_MILVUS_TOKEN"),
        (MilvusException(1100, "quota exceeded"), StorageError, "refused the call: quota exceeded"),
        (MilvusException(100, "collection not found"), UnknownCollection, "things"),
    ],
)
def test_what_milvus_says_is_told_by_kind(
    milvus_store: MilvusStore, monkeypatch: pytest.MonkeyPatch, error: Exception, told: Any, message: str
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(milvus_store._connection.client, "describe_collection", refuse)
        with pytest.raises(told, match=message):
            milvus_store.get("things")


def test_an_outage_is_told_and_survived(tmp_path: Path) -> None:
    port = free_port()
    uri, token = f"http://127.0.0.1:{port}", "root:a-secret-token"
    with pytest.raises(StoreUnreachable) as caught:
        MilvusStore(uri, token, call_seconds=1)
    assert uri in str(caught.value)
    assert "secret" not in str(caught.value)
    with milvus_server(tmp_path, port):
        store = MilvusStore(uri, token, call_seconds=5)
        replica = MilvusStore(uri, token, call_seconds=1)
        store.create("things", 8, "m")
        store.upsert("things", [document("a", image=LARGE)])
    for call in (
        lambda: replica.search("things", vector_of("a"), 1),
        lambda: replica.upsert("things", [document("b")]),
        replica.list,
    ):
        with pytest.raises(StoreUnreachable):
            call()
    with milvus_server(tmp_path, port):
        assert once_reachable(lambda: store.get_image("things", "a")) == LARGE
        once_reachable(lambda: replica.upsert("things", [document("b")]))
        assert {hit.document.id for hit in store.search("things", vector_of("a"), 9)} == {"a", "b"}
        with pytest.raises(UnknownDocument):
            replica.delete_document("things", "c")
        store.close()
        replica.close()
