"""The two clients against a real server on a real socket, with the tiny model."""

import asyncio

import numpy as np
import pytest

from service.app import create_app
from service.client import AsyncSolomon, Document, Item, ServerProblem, Solomon
from tests.service.client.conftest import Blocking
from tests.service.images import encoded
from tests.service.test_openai import listening


@pytest.fixture(params=["sync", "async"])
def solomon(request, make_settings, open_backend):
    settings = make_settings(api_keys="k1")
    with listening(create_app(settings, open_backend(settings))) as url:
        if request.param == "sync":
            with Solomon(url, api_key="k1") as solomon:
                yield solomon
        else:
            yield Blocking(lambda: AsyncSolomon(url, api_key="k1"))


def test_a_collections_life(solomon):
    red, blue = encoded(colour=(220, 20, 20)), encoded(colour=(20, 20, 220))
    given = [Document("a red thing", red, "red", {"n": 1}), Document(image=blue, id="a/b"), Document("text")]
    assert solomon.add(given, "mine").added == 3
    assert solomon.add(given, "mine").unchanged == 3
    assert [(entry.name, entry.count) for entry in solomon.collections()] == [("default", 0), ("mine", 3)]
    answer = solomon.search(Item("a red thing", red), collection="mine", k=2, route="embed")
    assert len(answer.results) == 2
    assert answer.route == "embed"
    assert answer.latency_ms["total"] > 0
    [only] = solomon.search("thing", collection="mine", filter={"n": 1}, augment_threshold=1.0).results
    assert (only.id, only.text, dict(only.metadata)) == ("red", "a red thing", {"n": 1})
    assert solomon.image("a/b", "mine") == blue
    assert solomon.document("a/b", "mine").text is None
    solomon.delete("a/b", "mine")
    with pytest.raises(ServerProblem) as gone:
        solomon.image("a/b", "mine")
    assert gone.value.status == 404
    assert solomon.collection("mine").count == 2
    solomon.drop_collection("mine")


def test_vectors_are_the_servers_own_and_can_be_searched_by(solomon):
    embeddings = solomon.embed(["one", Item("two", encoded())], input_type="document")
    assert embeddings.dimensions == solomon.info().dimensions == embeddings.vectors.shape[1]
    np.testing.assert_allclose(np.linalg.norm(embeddings.vectors, axis=1), 1, atol=1e-5)
    assert embeddings[0].route is None
    solomon.add([Document("one", id="one")])
    [hit] = solomon.search(vector=embeddings[0].vector, k=1).results
    assert (hit.id, hit.score) == ("one", pytest.approx(1, abs=1e-4))


def test_a_bad_document_is_named_and_the_rest_is_there(solomon):
    outcome = solomon.add([Document("fine", id="a"), Document("too long " * 300, id="b")])
    assert outcome.added == 1
    [failure] = outcome.failures
    assert failure.source == "b"
    assert failure.reason.startswith("text:")


def test_an_asynchronous_iterator_is_taken_as_it_comes(make_settings, open_backend):
    settings = make_settings()

    async def documents():
        for number in range(5):
            await asyncio.sleep(0)
            yield Document(f"text {number}")

    async def bring(url):
        async with AsyncSolomon(url) as solomon:
            return await solomon.add(documents())

    with listening(create_app(settings, open_backend(settings))) as url:
        assert asyncio.run(bring(url)).added == 5
