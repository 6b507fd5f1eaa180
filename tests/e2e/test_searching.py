"""`POST /search` over the demo corpus."""

import pytest

from service.demo.corpus import demo_documents
from tests.e2e.inputs import QUERIES, data_uri

PICTURE_QUERIES = sorted(QUERIES.glob("*.png"))


def search(client, **call):
    response = client.post("/search", json=call)
    assert response.status_code == 200, response.text
    return response.json()


def test_the_demo_corpus_is_indexed(client):
    assert client.get("/collections/default").json()["count"] == len(demo_documents())


def test_a_question_finds_its_answer(client, trained):
    answer = search(client, query="What is the capital of France?", k=3)
    assert "country-fr" in [hit["id"] for hit in answer["results"]]
    assert answer["route"] == "augment"
    assert answer["augmentation"]


def test_there_are_picture_queries():
    assert PICTURE_QUERIES


def names_found(client, query):
    return [hit["metadata"].get("name") for hit in search(client, query=query, k=5)["results"]]


def test_most_pictures_find_the_same_thing_in_another_style(client, trained):
    found = {
        path.stem: names_found(client, {"image": data_uri(path.read_bytes())}) for path in PICTURE_QUERIES
    }
    assert found["guitar"][0] == "guitar"
    assert found["elephant"][0] == "elephant"
    assert sum(name in names for name, names in found.items()) >= 3, found


@pytest.mark.parametrize("name", ["dog", "guitar", "pizza", "elephant", "bicycle"])
def test_a_name_finds_its_picture(client, trained, name):
    assert name in names_found(client, f"a picture of a {name}")


def test_a_picture_of_the_corpus_comes_back_whole(client):
    document = next(document for document in demo_documents() if document.image is not None)
    vector = client.post(
        "/embed",
        json={"input": {"text": document.text, "image": data_uri(document.image)}, "input_type": "document"},
    )
    found = search(client, vector=vector.json()["data"][0]["embedding"], k=1)["results"][0]
    assert found["id"] == document.id
    assert found["score"] == pytest.approx(1, abs=2e-3)
    assert client.get(found["image_url"]).content == document.image


def test_results_are_ordered_and_timed(client):
    answer = search(client, query="a country in Africa", k=20, route="embed")
    scores = [hit["score"] for hit in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 20
    assert set(answer["latency_ms"]) == {"queue", "embed", "index", "total"}


def test_filters_narrow_the_search(client):
    where = {"continent": "Africa", "population": {"gte": 10_000_000}}
    results = search(client, query="a country", k=1000, route="embed", filter=where)["results"]
    expected = {
        document.id
        for document in demo_documents()
        if document.metadata.get("continent") == "Africa" and document.metadata["population"] >= 10_000_000
    }
    assert {hit["id"] for hit in results} == expected
    assert expected
