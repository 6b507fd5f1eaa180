"""OpenAI's own client against `/v1`."""

import numpy as np
import openai
import pytest


@pytest.fixture(scope="module")
def api(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as api:
        yield api


def test_embeddings_as_its_users_ask_for_them(api, client):
    answer = api.embeddings.create(model="solomon", input=["a red car", "a green tree"])
    assert [entry.index for entry in answer.data] == [0, 1]
    assert answer.usage.prompt_tokens > 0
    direct = client.post("/embed", json={"input": ["a red car", "a green tree"]}).json()["data"]
    for entry, own in zip(answer.data, direct, strict=True):
        assert 1 - np.dot(entry.embedding, own["embedding"]) < 2e-3


def test_float_format_and_dimensions(api):
    answer = api.embeddings.create(
        model="solomon",
        input="a red car",
        encoding_format="float",
        dimensions=128,
        extra_body={"route": "embed"},
    )
    assert np.linalg.norm(answer.data[0].embedding) == pytest.approx(1, abs=1e-5)
    assert len(answer.data[0].embedding) == 128


def test_served_models(api, client):
    names = [model.id for model in api.models.list()]
    assert client.get("/info").json()["model"]["name"] in names
    assert api.models.retrieve("solomon").id == "solomon"


def test_errors_are_the_clients_own_classes(api):
    with pytest.raises(openai.UnprocessableEntityError) as empty:
        api.embeddings.create(model="solomon", input="")
    assert empty.value.param is not None
    with pytest.raises(openai.NotFoundError) as unknown:
        api.embeddings.create(model="text-embedding-3-small", input="a")
    assert unknown.value.code == "model_not_found"
