"""Text Embeddings Inference's request on `POST /embed`, and the Hugging Face client that sends it."""

import numpy as np
import pytest
from huggingface_hub import InferenceClient

from service.app import create_app
from tests.service.problems import fields, problem
from tests.service.test_openai import listening


def test_a_text_or_a_list_is_answered_with_vectors_alone(client):
    [vector] = client.post("/embed", json={"inputs": "one"}).json()
    own = client.post("/embed", json={"input": ["one", "two"]}).json()["data"]
    both = client.post(
        "/embed", json={"inputs": ["one", "two"], "normalize": True, "truncate": None, "prompt_name": None}
    ).json()
    np.testing.assert_allclose(both, [entry["embedding"] for entry in own], atol=1e-5)
    np.testing.assert_allclose(vector, both[0], atol=1e-5)
    [short] = client.post("/embed", json={"inputs": "one", "dimensions": 8}).json()
    assert (len(short), np.linalg.norm(short)) == (8, pytest.approx(1, abs=1e-5))


def test_a_prompts_name_says_which_side_it_is(client):
    [document] = client.post("/embed", json={"inputs": "one", "prompt_name": "passage"}).json()
    [query] = client.post("/embed", json={"inputs": "one", "prompt_name": "query"}).json()
    own = client.post("/embed", json={"input": "one", "input_type": "document"}).json()["data"][0]
    np.testing.assert_allclose(document, own["embedding"], atol=1e-5)
    assert not np.allclose(document, query, atol=1e-3)


def test_a_long_text_is_cut_only_where_that_is_asked_for(client):
    long = "too long " * 300
    refused = problem(client.post("/embed", json={"inputs": ["x", long]}), 422, "too-long")
    assert fields(refused) == ["inputs[1]"]
    assert client.post("/embed", json={"inputs": long, "truncate": True}).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"inputs": [[1, 2]]}, "inputs[0]"),
        ({"inputs": 3}, "inputs"),
        ({"inputs": []}, "inputs"),
        ({"inputs": "x", "normalize": False}, "normalize"),
        ({"inputs": "x", "prompt_name": "clustering"}, "prompt_name"),
        ({"inputs": "x", "truncation_direction": "Left"}, "truncation_direction"),
        ({"inputs": "x", "dimensions": 10_000}, "dimensions"),
        ({"inputs": "x", "input": "y"}, "inputs"),
        ({"inputs": "x", "prompt_name": "passage", "route": "augment"}, "route"),
        ({}, "input"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(client, body, field):
    assert fields(problem(client.post("/embed", json=body), 422, "invalid-input")) == [field]


def test_its_users_switch_by_url(make_settings, open_backend):
    settings = make_settings()
    with listening(create_app(settings, open_backend(settings))) as url:
        hub = InferenceClient(model=f"{url}/embed")
        vectors = hub.feature_extraction(["one", "two"], normalize=True, truncate=True, prompt_name="query")
    assert vectors.shape == (2, 64)
