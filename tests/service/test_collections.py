import numpy as np
import pytest

from service.vector_space import vector_space
from tests.service.images import data_uri, encoded
from tests.service.problems import fields, problem

RED, BLUE = encoded(colour=(220, 20, 20)), encoded(colour=(20, 20, 220), kind="JPEG")


def add(client, documents, collection="default"):
    return client.post(f"/collections/{collection}/documents", json={"documents": documents})


@pytest.fixture
def filled(client):
    response = add(
        client,
        [
            {"id": "a", "text": "alpha", "metadata": {"kind": "letter", "year": 1990}},
            {"id": "b", "text": "beta", "metadata": {"kind": "letter", "year": 2000}},
            {"id": "red/1", "image": data_uri(RED), "metadata": {"kind": "picture"}},
        ],
    )
    assert (response.status_code, response.json()) == (201, {"ids": ["a", "b", "red/1"]})
    return client


def test_collections_come_and_go(client):
    made = client.put("/collections/mine")
    assert made.status_code == 201
    assert made.json() | {"index_kind": ""} == {
        "name": "mine",
        "count": 0,
        "dimensions": 64,
        "index_kind": "",
        "model": "tiny@" + "ab" * 6,
        "recall": 1.0,
        "lost": 0,
        "damage": None,
    }
    assert client.put("/collections/mine", json={}).status_code == 200
    names = [entry["name"] for entry in client.get("/collections").json()["collections"]]
    assert names == ["default", "mine"]
    assert client.get("/collections/mine").json()["name"] == "mine"
    dropped = client.delete("/collections/mine")
    assert dropped.status_code == 204
    assert "content-type" not in dropped.headers
    problem(client.get("/collections/mine"), 404, "unknown-collection")
    problem(client.delete("/collections/mine"), 404, "unknown-collection")


def test_bad_collection_names_and_bodies(client):
    assert fields(problem(client.put("/collections/Not%20Good"), 422, "invalid-input")) == ["name"]
    assert fields(problem(client.put("/collections/x", json={"dimensions": 3}), 422, "invalid-input")) == [
        "dimensions"
    ]


def test_search_finds_a_document_by_its_own_vector(filled):
    vector = filled.post("/embed", json={"input": "beta", "input_type": "document"}).json()["data"][0]
    answer = filled.post("/search", json={"vector": vector["embedding"], "k": 2}).json()
    assert answer["results"][0]["id"] == "b"
    assert answer["results"][0]["score"] == pytest.approx(1, abs=1e-3)
    assert answer["results"][0]["metadata"] == {"kind": "letter", "year": 2000}
    assert len(answer["results"]) == 2
    assert (answer["route"], answer["confidence"], answer["augmentation"]) == (None, None, None)
    assert (answer["latency_ms"]["queue"], answer["latency_ms"]["embed"]) == (0, 0)


def test_search_by_query_tells_route_and_latency(filled):
    answer = filled.post("/search", json={"query": {"text": "which?", "image": data_uri(BLUE)}}).json()
    assert answer["route"] in ("embed", "augment")
    assert len(answer["results"]) == 3
    scores = [result["score"] for result in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    latency = answer["latency_ms"]
    assert latency["total"] >= latency["embed"] > latency["queue"] > 0
    assert latency["total"] >= latency["index"] > 0


def test_query_and_its_embedding_search_alike(filled):
    call = {"route": "embed"}
    vector = filled.post("/embed", json={"input": "same", **call}).json()["data"][0]["embedding"]
    by_query = filled.post("/search", json={"query": "same", **call}).json()["results"]
    by_vector = filled.post("/search", json={"vector": vector}).json()["results"]
    assert [hit["id"] for hit in by_query] == [hit["id"] for hit in by_vector]
    np.testing.assert_allclose([h["score"] for h in by_query], [h["score"] for h in by_vector], atol=1e-4)


def test_filters(filled):
    def found(where):
        answer = filled.post("/search", json={"query": "x", "filter": where, "route": "embed"}).json()
        return {hit["id"] for hit in answer["results"]}

    assert found({"kind": "letter"}) == {"a", "b"}
    assert found({"year": {"gte": 1995}}) == {"b"}
    assert found({"kind": "nothing"}) == set()


def test_images_come_back_as_they_were(filled):
    hit = next(h for h in filled.post("/search", json={"query": "x"}).json()["results"] if h["id"] == "red/1")
    assert hit["image_url"] == "/collections/default/documents/red%2F1/image"
    response = filled.get(hit["image_url"])
    assert response.content == RED
    assert response.headers["content-type"] == "image/png"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in response.headers["content-security-policy"]
    problem(filled.get("/collections/default/documents/a/image"), 404, "unknown-document")


def test_the_bytes_decide_the_media_type_not_the_claim(client):
    assert add(client, [{"id": "j", "image": data_uri(BLUE, "image/svg+xml")}]).status_code == 201
    response = client.get("/collections/default/documents/j/image")
    assert response.headers["content-type"] == "image/jpeg"


def test_documents_are_shown_replaced_and_deleted(filled):
    shown = filled.get("/collections/default/documents/a").json()
    metadata = {"kind": "letter", "year": 1990}
    assert shown == {"id": "a", "text": "alpha", "image_url": None, "metadata": metadata}
    assert add(filled, [{"id": "a", "text": "another"}]).status_code == 201
    assert filled.get("/collections/default/documents/a").json()["text"] == "another"
    assert filled.get("/collections/default").json()["count"] == 3
    assert filled.delete("/collections/default/documents/a").status_code == 204
    problem(filled.get("/collections/default/documents/a"), 404, "unknown-document")
    problem(filled.delete("/collections/default/documents/a"), 404, "unknown-document")
    ids = {hit["id"] for hit in filled.post("/search", json={"query": "alpha"}).json()["results"]}
    assert ids == {"b", "red/1"}
    slashed = "/collections/default/documents/red%2F1"
    assert filled.get(slashed).json()["id"] == "red/1"
    assert filled.delete(slashed).status_code == 204


def test_ids_are_made_where_they_are_missing(client):
    ids = add(client, [{"text": "one"}, {"text": "two"}]).json()["ids"]
    assert len(set(ids)) == 2
    assert client.get(f"/collections/default/documents/{ids[1]}").json()["text"] == "two"


@pytest.mark.parametrize(
    ("documents", "status", "kind", "field"),
    [
        ([], 422, "invalid-input", "documents"),
        ([{}], 422, "invalid-input", "documents[0].text"),
        ([{"text": "a"}, {"id": "x"}], 422, "invalid-input", "documents[1].text"),
        ([{"text": "a", "txet": 1}], 422, "invalid-input", "documents[0].txet"),
        ([{"text": ""}], 422, "invalid-input", "documents[0].text"),
        ([{"id": "", "text": "a"}], 422, "invalid-input", "documents[0].id"),
        ([{"id": 7, "text": "a"}], 422, "invalid-input", "documents[0].id"),
        ([{"id": "x", "text": "a"}, {"id": "x", "text": "b"}], 422, "invalid-input", "documents[1].id"),
        ([{"text": "a", "metadata": []}], 422, "invalid-input", "documents[0].metadata"),
        ([{"text": "word " * 500}], 422, "too-long", "documents[0].text"),
        ([{"text": "a"}, {"image": data_uri(b"no image")}], 415, "not-an-image", "documents[1].image"),
        ([{"image": data_uri(BLUE[: len(BLUE) // 2])}], 415, "not-an-image", "documents[0].image"),
        ([{"text": "a"}] * 257, 422, "invalid-input", "documents"),
        ([{"text": "a", "metadata": {"n": {"m": 1}}}], 422, "invalid-input", "documents[0].metadata.n"),
        ([{"text": "a"}, {"id": "..", "text": "b"}], 422, "invalid-input", "documents[1].id"),
    ],
)
def test_bad_documents_are_named_and_nothing_is_kept(client, documents, status, kind, field):
    body = problem(add(client, documents), status, kind)
    assert fields(body) == [field]
    assert client.get("/collections/default").json()["count"] == 0


@pytest.mark.parametrize(
    ("call", "status", "kind", "field"),
    [
        ({}, 422, "invalid-input", "query"),
        ({"query": "x", "vector": [1.0] * 64}, 422, "invalid-input", "query"),
        ({"query": ""}, 422, "invalid-input", "query"),
        ({"query": {"text": ""}}, 422, "invalid-input", "query.text"),
        ({"query": 7}, 422, "invalid-input", "query"),
        ({"query": {"image": data_uri(b"text")}}, 415, "not-an-image", "query.image"),
        ({"query": "x", "k": 0}, 422, "invalid-input", "k"),
        ({"query": "x", "k": 1001}, 422, "invalid-input", "k"),
        ({"query": "x", "k": "many"}, 422, "invalid-input", "k"),
        ({"query": "x", "k": "3"}, 422, "invalid-input", "k"),
        ({"query": "x", "k": True}, 422, "invalid-input", "k"),
        ({"query": "x", "filter": {}}, 422, "invalid-input", "filter"),
        ({"query": "x", "filter": {"year": {"near": 5}}}, 422, "invalid-input", None),
        ({"query": "x", "filter": {"year": {}}}, 422, "invalid-input", None),
        ({"query": "x", "filter": "kind"}, 422, "invalid-input", "filter"),
        ({"query": "x", "colour": "red"}, 422, "invalid-input", "colour"),
        ({"query": "x", "collection": "No Such"}, 422, "invalid-input", "collection"),
        ({"vector": [1.0] * 63}, 422, "invalid-input", "vector"),
        ({"vector": []}, 422, "invalid-input", "vector"),
        ({"vector": ["a"] * 64}, 422, "invalid-input", None),
        ({"vector": ["1.0"] * 64}, 422, "invalid-input", None),
        ({"vector": [1.0] * 64, "route": "augment"}, 422, "invalid-input", "route"),
    ],
)
def test_bad_searches_are_named(client, call, status, kind, field):
    body = problem(client.post("/search", json=call), status, kind)
    if field is not None:
        assert fields(body) == [field]
    else:
        assert fields(body)[0].startswith(("filter", "vector"))


def test_a_problem_can_repeat_a_name_that_is_no_text(client):
    body = b'{"query": "x", "filter": {"year": {"\\ud800": 5}}}'
    response = client.post("/search", content=body, headers={"content-type": "application/json"})
    assert fields(problem(response, 422, "invalid-input")) == ["filter.year.?"]


def test_what_cannot_be_answered_costs_the_model_nothing(client, monkeypatch):
    def never(*arguments):
        raise AssertionError("the model was asked")

    monkeypatch.setattr(client.app.state.runtime.services.backend.embedder, "submit", never)
    bad = {"query": "x", "filter": {"year": {"near": 5}}}
    body = problem(client.post("/search", json=bad), 422, "invalid-input")
    assert body["detail"].startswith("filter.year.near: is not known")
    problem(add(client, [{"text": "x", "metadata": {"$n": 1}}]), 422, "invalid-input")
    problem(client.post("/search", json={"query": "x", "collection": "nowhere"}), 404, "unknown-collection")


def test_unknown_collections(client):
    problem(client.post("/search", json={"query": "x", "collection": "nowhere"}), 404, "unknown-collection")
    body = problem(add(client, [{"text": "x"}], "nowhere"), 404, "unknown-collection")
    assert "PUT /collections/" in body["detail"]


def test_a_collection_of_another_model_is_not_compared(client):
    services = client.app.state.runtime.services
    services.backend.store.create("old", 64, "tiny@000000000000")
    body = problem(client.post("/search", json={"query": "x", "collection": "old"}), 409, "other-model")
    assert vector_space(services.backend.embedder.info) in body["detail"]
    problem(add(client, [{"text": "x"}], "old"), 409, "other-model")
    problem(client.put("/collections/old"), 409, "other-model")
    assert client.post("/search", json={"vector": [1.0] * 64, "collection": "old"}).status_code == 200
