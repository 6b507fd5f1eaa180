"""The contract of `VectorStore`, on each store that keeps it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from index.types import (
    CollectionExists,
    CollectionInfo,
    CollectionSpace,
    Document,
    Image,
    InvalidInput,
    NewDocument,
    OtherModel,
    UnknownCollection,
    UnknownDocument,
    VectorStore,
)
from tests.index.documents import document, vector_of

PNG = Image(b"\x89PNG and so on", "image/png")


@pytest.fixture
def store(any_store: VectorStore) -> VectorStore:
    return any_store


def test_a_store_keeps_the_contract(store: VectorStore) -> None:
    assert all(hasattr(store, name) for name in vars(VectorStore) if not name.startswith("_"))


def test_create_is_repeatable_and_refuses_other_settings(store: VectorStore) -> None:
    made = store.create("more", 8, "a-model")
    assert made == CollectionInfo("more", 0, 8, "flat", "a-model") == store.create("more", 8, "a-model")
    for dimensions, model in ((9, "a-model"), (8, "b-model")):
        with pytest.raises(CollectionExists):
            store.create("more", dimensions, model)
    assert [info.name for info in store.list()] == ["more", "things"]
    assert store.space("more") == CollectionSpace("more", 8, "a-model")
    with pytest.raises(UnknownCollection):
        store.space("nothing")


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "-a", "a" * 65, "a\n", "é", "a.b", 3, None])
def test_a_bad_name_never_reaches_the_disk(store: VectorStore, name: Any) -> None:
    for call in (lambda: store.create(name, 8, "m"), lambda: store.get(name), lambda: store.drop(name)):
        with pytest.raises(InvalidInput) as caught:
            call()
        assert caught.value.field == "name"


def test_a_document_comes_back_as_it_was_given(store: VectorStore) -> None:
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


def test_vectors_of_another_model_are_refused_as_they_are_written(store: VectorStore) -> None:
    with pytest.raises(OtherModel, match=r"'things' is of the model 'a-model', and the vectors of 'b-model'"):
        store.upsert("things", [document("a")], "b-model")
    store.upsert("things", [document("b")], "a-model")
    assert store.existing_ids("things", ["a", "b"]) == {"b"}


def test_vectors_of_another_model_are_not_searched_with(store: VectorStore) -> None:
    store.upsert("things", [document("a")])
    assert store.search("things", vector_of("a"), 1, None, "a-model")
    with pytest.raises(OtherModel, match="'b-model'"):
        store.search("things", vector_of("a"), 1, None, "b-model")


def test_an_upsert_replaces_the_whole_document(store: VectorStore) -> None:
    store.upsert("things", [document("a", "old", PNG, kind="old")])
    store.upsert("things", [document("a", "new")])
    assert store.get_document("things", "a") == Document("a", "new")
    with pytest.raises(UnknownDocument):
        store.get_image("things", "a")
    assert store.search("things", vector_of("old"), 5, {"kind": "old"}) == []
    assert [hit.document.text for hit in store.search("things", vector_of("old"), 5)] == ["new"]


def test_of_several_documents_with_one_id_the_last_wins(store: VectorStore) -> None:
    store.upsert("things", [document("a", "first"), document("b"), document("a", "last")])
    assert store.get("things").count == 2
    assert store.get_document("things", "a").text == "last"


def test_a_bad_document_writes_nothing_of_its_call(store: VectorStore) -> None:
    with pytest.raises(InvalidInput):
        store.upsert("things", [document("good"), document("")])
    assert store.get("things").count == 0
    store.upsert("things", [])
    assert store.get("things").count == 0


def test_a_deleted_document_is_gone(store: VectorStore) -> None:
    store.upsert("things", [document("a"), document("b", image=PNG)])
    store.delete_document("things", "b")
    for call in (store.delete_document, store.get_document, store.get_image):
        with pytest.raises(UnknownDocument):
            call("things", "b")
    assert store.existing_ids("things", ["a", "b", "c"]) == {"a"}
    assert [hit.document.id for hit in store.search("things", vector_of("b"), 10)] == ["a"]


def test_a_caller_cannot_change_what_is_held(store: VectorStore) -> None:
    data: dict[str, Any] = {"tags": ["a"]}
    store.upsert("things", [NewDocument("a", vector_of("a"), metadata=data)])
    data["tags"].append("b")
    store.search("things", vector_of("a"), 1)[0].document.metadata["tags"].append("c")  # type: ignore[index]
    assert store.search("things", vector_of("a"), 1, {"tags": {"in": ["b", "c"]}}) == []
    assert store.get_document("things", "a").metadata == {"tags": ["a"]}


def test_search_refuses_bad_input(store: VectorStore) -> None:
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


def test_a_dropped_collection_is_gone_and_its_name_free(store: VectorStore) -> None:
    store.upsert("things", [document("a")])
    store.drop("things")
    for call in (store.get, store.drop):
        with pytest.raises(UnknownCollection):
            call("things")
    store.create("things", 3, "another")
    assert store.get("things").count == 0


def test_vectors_are_stored_at_unit_length(store: VectorStore) -> None:
    tiny, huge = (replace(document(name), vector=vector_of(name).astype(np.float64) * scale)
                  for name, scale in (("tiny", 1e-200), ("huge", 1e200)))  # fmt: skip
    store.upsert("things", [tiny, huge])
    for name in ("tiny", "huge"):
        [hit] = store.search("things", vector_of(name), 1)
        assert (hit.document.id, hit.score) == (name, pytest.approx(1.0, abs=1e-6))


def test_neighbours_with_equal_scores_come_by_id(store: VectorStore) -> None:
    vector = vector_of("one")
    names = [f"n{number:03}" for number in range(150)]
    store.upsert("things", [NewDocument(name, vector) for name in reversed(names)] + [document("other")])
    for k in (1, 7, 149, 150):
        hits = store.search("things", vector, k)
        assert [hit.document.id for hit in hits] == names[:k]
        assert len({hit.score for hit in hits}) == 1
    assert [hit.document.id for hit in store.search("things", vector, 1000)] == [*names, "other"]


def test_the_empty_image_and_a_large_one_come_back(store: VectorStore) -> None:
    large = Image(bytes(range(256)) * 1000, "image/jpeg")
    store.upsert("things", [document("empty", image=Image(b"", "image/gif")), document("large", image=large)])
    assert store.get_image("things", "empty") == Image(b"", "image/gif")
    assert store.get_image("things", "large") == large


def test_a_long_text_comes_back_from_every_call(store: VectorStore) -> None:
    text = "a long text, ☃ \0 " * 20_000
    store.upsert("things", [document("long", text), document("short", "short")])
    assert store.get_document("things", "long").text == text
    assert store.search("things", vector_of(text), 1)[0].document.text == text
    walked = {d.id: d.text for batch in store.export("things") for d in batch}
    assert walked == {"long": text, "short": "short"}


def test_everything_can_be_walked(store: VectorStore) -> None:
    given = [
        document(f"d{number}", f"text {number}", PNG if number % 3 == 0 else None, n=number, e=[None, 0.5])
        for number in range(50)
    ]
    store.upsert("things", given)
    store.delete_document("things", "d7")
    walked = [exported for batch in store.export("things") for exported in batch]
    assert len(walked) == 49
    by_id = {exported.id: exported for exported in walked}
    for wanted in given[:7] + given[8:]:
        found = by_id[wanted.id]
        assert (found.text, found.image, found.metadata) == (wanted.text, wanted.image, wanted.metadata)
        np.testing.assert_allclose(found.vector, wanted.vector, atol=1e-6)
    assert [exported.id for batch in store.export("things") for exported in batch] == [d.id for d in walked]
    fetched = {found.id: found for found in store.fetch("things", ["d3", "d7", "d8", "d3", "none"])}
    assert set(fetched) == {"d3", "d8"}
    assert fetched["d3"].image == PNG
    np.testing.assert_array_equal(fetched["d8"].vector, by_id["d8"].vector)
    with pytest.raises(UnknownCollection):
        list(store.export("nothing"))


def test_a_collection_takes_the_place_of_another(store: VectorStore) -> None:
    store.upsert("things", [document("old", "old")])
    store.create("staged", 3, "b-model")
    store.upsert("staged", [NewDocument("new", vector_of("new", 3), "new", PNG)])
    store.replace("things", "staged")
    assert [info.name for info in store.list()] == ["things"]
    assert (store.get("things").dimensions, store.get("things").model) == (3, "b-model")
    assert [hit.document.id for hit in store.search("things", vector_of("new", 3), 9)] == ["new"]
    assert store.get_image("things", "new") == PNG
    for names in (("things", "staged"), ("staged", "things")):
        with pytest.raises(UnknownCollection):
            store.replace(*names)
    assert store.get("things").count == 1
