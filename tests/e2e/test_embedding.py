"""`POST /embed` on the real model."""

import base64

import numpy as np
import pytest

from tests.e2e.inputs import CAPTIONS, QUESTIONS, data_uri, noise, picture


def embed(client, items, **options):
    response = client.post("/embed", json={"input": items, **options})
    assert response.status_code == 200, response.text
    return response.json()


def vectors(answer):
    return np.array([entry["embedding"] for entry in answer["data"]])


def test_a_question_is_answered_before_it_is_embedded(client, trained):
    for entry in embed(client, list(QUESTIONS))["data"]:
        assert entry["route"] == "augment"
        assert entry["augmentation"].strip()
        assert entry["augment_tokens"] > 0
        assert entry["confidence"] > 0.5


def test_a_caption_is_embedded_at_once(client, trained):
    for entry in embed(client, list(CAPTIONS))["data"]:
        assert (entry["route"], entry["augmentation"], entry["augment_tokens"]) == ("embed", None, 0)
        assert entry["confidence"] > 0.5


@pytest.mark.parametrize("input_type", ["query", "document"])
def test_texts_images_and_both_give_unit_vectors(client, input_type):
    items = ["a dog", {"image": picture("dog")}, {"text": "a dog", "image": picture("dog")}]
    answer = embed(client, items, input_type=input_type)
    assert [entry["index"] for entry in answer["data"]] == [0, 1, 2]
    np.testing.assert_allclose(np.linalg.norm(vectors(answer), axis=1), 1, atol=1e-5)
    assert vectors(answer).shape == (3, answer["dimensions"])
    assert answer["usage"]["prompt_tokens"] > answer["usage"]["image_tokens"] > 0
    routes = {entry["route"] for entry in answer["data"]}
    assert routes == {None} if input_type == "document" else routes <= {"embed", "augment"}


def test_a_batch_equals_its_items_one_by_one(client):
    items = [
        *CAPTIONS,
        "dog",
        {"image": data_uri(noise(1))},
        {"text": "what is it?", "image": picture("cat")},
    ]
    for options in ({"input_type": "document"}, {"route": "embed"}):
        together = vectors(embed(client, items, **options))
        single = np.concatenate([vectors(embed(client, item, **options)) for item in items])
        assert (1 - (together * single).sum(axis=1)).max() < 2e-3


def test_forced_routes_are_taken(client):
    for item in (QUESTIONS[0], CAPTIONS[0], {"image": picture("cat")}):
        at_once = embed(client, item, route="embed")["data"][0]
        assert (at_once["route"], at_once["augmentation"]) == ("embed", None)
        written = embed(client, item, route="augment", max_augment_tokens=4)["data"][0]
        assert written["route"] == "augment"
        assert written["augment_tokens"] <= 4
        assert at_once["confidence"] == pytest.approx(1 - written["confidence"], abs=1e-3)


def test_what_is_written_changes_the_vector(client):
    at_once = vectors(embed(client, QUESTIONS[0], route="embed"))[0]
    written = vectors(embed(client, QUESTIONS[0], route="augment"))[0]
    assert at_once @ written < 0.9999


@pytest.mark.parametrize("item", [QUESTIONS[0], CAPTIONS[0]])
def test_the_threshold_decides_between_the_routes(client, item):
    def route(threshold):
        answer = embed(client, item, augment_threshold=threshold, max_augment_tokens=1)
        return answer["data"][0]["route"]

    assert (route(0), route(1)) == ("augment", "embed")


def test_base64_holds_the_same_vector(client):
    numbers = vectors(embed(client, CAPTIONS[0], route="embed"))[0]
    encoded = embed(client, CAPTIONS[0], route="embed", encoding_format="base64")["data"][0]["embedding"]
    np.testing.assert_allclose(np.frombuffer(base64.b64decode(encoded), "<f4"), numbers, atol=1e-6)


def test_fewer_dimensions_are_a_prefix_scaled_again(client):
    whole = vectors(embed(client, CAPTIONS[0], route="embed"))[0]
    short = vectors(embed(client, CAPTIONS[0], route="embed", dimensions=64))[0]
    np.testing.assert_allclose(short, whole[:64] / np.linalg.norm(whole[:64]), atol=1e-5)


def test_a_long_text_is_cut_only_on_request(client):
    call = {"input": "word " * 5000, "route": "embed"}
    refused = client.post("/embed", json=call)
    assert refused.status_code == 422
    limit = client.get("/info").json()["limits"]["max_prompt_tokens"]
    assert f"{limit:,}" in refused.json()["detail"]
    assert embed(client, call["input"], route="embed", truncate=True)["usage"]["prompt_tokens"] <= limit
