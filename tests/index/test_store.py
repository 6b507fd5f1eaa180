from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index.store import FaissStore
from index.types import (
    CollectionExists,
    CollectionInfo,
    DataDirectoryLocked,
    Document,
    Image,
    InvalidInput,
    NewDocument,
    StorageError,
    UnknownCollection,
    UnknownDocument,
    VectorStore,
)
from tests.index.documents import document, vector_of

PNG = Image(b"\x89PNG and so on", "image/png")


def test_a_store_keeps_the_contract(store: FaissStore) -> None:
    contract: VectorStore = store  # mypy checks the signatures, this the presence
    assert all(hasattr(contract, name) for name in vars(VectorStore) if not name.startswith("_"))


def test_create_is_repeatable_and_refuses_other_settings(store: FaissStore) -> None:
    made = store.create("more", 8, "a-model")
    assert made == CollectionInfo("more", 0, 8, "flat", "a-model") == store.create("more", 8, "a-model")
    for dimensions, model in ((9, "a-model"), (8, "b-model")):
        with pytest.raises(CollectionExists):
            store.create("more", dimensions, model)
    assert [info.name for info in store.list()] == ["more", "things"]


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "-a", "a" * 65, "a\n", "é", "a.b", 3, None])
def test_a_bad_name_never_reaches_the_disk(store: FaissStore, name: Any) -> None:
    for call in (lambda: store.create(name, 8, "m"), lambda: store.get(name), lambda: store.drop(name)):
        with pytest.raises(InvalidInput) as caught:
            call()
        assert caught.value.field == "name"


def test_a_document_comes_back_as_it_was_given(store: FaissStore) -> None:
    data = {"kind": "emoji", "year": 1999, "tags": ["a", 1, None], "x": 0.1, "big": 2**62, "é": "ü"}
    store.upsert("things", [document("a/b?c", "Text \0 ☃", PNG, **data), document("plain")])
    assert store.get_document("things", "a/b?c") == Document("a/b?c", "Text \0 ☃", data, "image/png")
    assert store.get_image("things", "a/b?c") == PNG
    assert store.get_document("things", "plain") == Document("plain")
    with pytest.raises(UnknownDocument):
        store.get_image("things", "plain")
    [hit] = store.search("things", vector_of("Text \0 ☃") * 7, 1)
    assert hit.document == Document("a/b?c", "Text \0 ☃", data, "image/png")
    assert hit.score == pytest.approx(1.0, abs=1e-6)


def test_an_upsert_replaces_the_whole_document(store: FaissStore) -> None:
    store.upsert("things", [document("a", "old", PNG, kind="old")])
    store.upsert("things", [document("a", "new")])
    assert store.get_document("things", "a") == Document("a", "new")
    with pytest.raises(UnknownDocument):
        store.get_image("things", "a")
    assert store.search("things", vector_of("old"), 5, {"kind": "old"}) == []
    assert [hit.document.text for hit in store.search("things", vector_of("old"), 5)] == ["new"]


def test_of_several_documents_with_one_id_the_last_wins(store: FaissStore) -> None:
    store.upsert("things", [document("a", "first"), document("b"), document("a", "last")])
    assert store.get("things").count == 2
    assert store.get_document("things", "a").text == "last"


def test_a_bad_document_writes_nothing_of_its_call(store: FaissStore) -> None:
    with pytest.raises(InvalidInput):
        store.upsert("things", [document("good"), document("")])
    assert store.get("things").count == 0
    store.upsert("things", [])
    assert store.get("things").count == 0


def test_a_deleted_document_is_gone(store: FaissStore) -> None:
    store.upsert("things", [document("a"), document("b", image=PNG)])
    store.delete_document("things", "b")
    for call in (store.delete_document, store.get_document, store.get_image):
        with pytest.raises(UnknownDocument):
            call("things", "b")
    assert store.existing_ids("things", ["a", "b", "c"]) == {"a"}
    assert [hit.document.id for hit in store.search("things", vector_of("b"), 10)] == ["a"]


def test_a_caller_cannot_change_what_is_held(store: FaissStore) -> None:
    data: dict[str, Any] = {"tags": ["a"]}
    store.upsert("things", [NewDocument("a", vector_of("a"), metadata=data)])
    data["tags"].append("b")
    store.search("things", vector_of("a"), 1)[0].document.metadata["tags"].append("c")  # type: ignore[index]
    assert store.search("things", vector_of("a"), 1, {"tags": {"in": ["b", "c"]}}) == []
    assert store.get_document("things", "a").metadata == {"tags": ["a"]}


def test_search_refuses_bad_input(store: FaissStore) -> None:
    good = vector_of("a")
    for k in (0, 1001, -1, True, 1.0, "3"):
        with pytest.raises(InvalidInput) as caught:
            store.search("things", good, k)  # type: ignore[arg-type]
        assert caught.value.field == "k"
    for vector in (good[:7], good.reshape(1, -1), good * np.nan, good * 0, ["x"] * 8, None):
        with pytest.raises(InvalidInput) as caught:
            store.search("things", vector, 1)  # type: ignore[arg-type]
        assert caught.value.field == "vector"
    with pytest.raises(InvalidInput) as caught:
        store.search("things", good, 1, {"year": {"gte": None}})
    assert caught.value.field == "filter.year.gte"
    with pytest.raises(UnknownCollection):
        store.search("nothing", good, 1)


def test_a_dropped_collection_is_gone_and_its_name_free(store: FaissStore, tmp_path: Path) -> None:
    store.upsert("things", [document("a")])
    store.drop("things")
    for call in (store.get, store.drop):
        with pytest.raises(UnknownCollection):
            call("things")
    for folder in ("collections", "trash", "staging"):
        assert list((tmp_path / "data" / folder).iterdir()) == []
    store.create("things", 3, "another")
    assert store.get("things").count == 0


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


@pytest.mark.parametrize("damage", [b"not a database at all" * 100, b""])
def test_a_damaged_log_is_reported(tmp_path: Path, damage: bytes) -> None:
    store = FaissStore(tmp_path)
    store.create("things", 8, "m")
    store.close()
    (tmp_path / "collections" / "things" / "documents.sqlite3").write_bytes(damage)
    with pytest.raises(StorageError):
        FaissStore(tmp_path)
    with pytest.raises(StorageError):  # and not locked by the failed attempt
        FaissStore(tmp_path)


def test_a_file_in_place_of_the_directory_is_reported(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(StorageError):
        FaissStore(tmp_path / "data")


def test_a_write_cut_short_before_the_view_is_made_good_by_the_next(
    store: FaissStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.upsert("things", [document("a", "old"), document("b")])
    view = store._collection("things")._view

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(view, "put", interrupted)
        patch.setattr(view, "remove", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.upsert("things", [document("a", "new")])
    assert {hit.document.text for hit in store.search("things", vector_of("a"), 5)} == {"new", None}
    store.delete_document("things", "b")
    assert [hit.document.text for hit in store.search("things", vector_of("a"), 5)] == ["new"]


def test_vectors_are_stored_at_unit_length(store: FaissStore) -> None:
    tiny, huge = (replace(document(name), vector=vector_of(name).astype(np.float64) * scale)
                  for name, scale in (("tiny", 1e-200), ("huge", 1e200)))  # fmt: skip
    store.upsert("things", [tiny, huge])
    for name in ("tiny", "huge"):
        [hit] = store.search("things", vector_of(name), 1)
        assert (hit.document.id, hit.score) == (name, pytest.approx(1.0, abs=1e-6))
