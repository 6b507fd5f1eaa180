"""Bulk ingest: what is held is not sent again, vectors from elsewhere, and queries that go first."""

import asyncio
import base64
import json
import math
import threading
import time

import httpx
import numpy as np
import pytest

from model.engine import Engine, EngineSettings
from model.errors import QueueFull
from model.types import EmbedOptions
from service.app import create_app
from service.bulk_embedding import DOCUMENT_PRIORITY
from service.cli.client import Client
from service.cli.exits import CommandFailed, Exit
from service.cli.uploading import server_limits, upload
from service.client.answers import Limits
from service.client.calls import Call
from service.client.outcomes import Failure, Outcome
from service.corpus.entries import Entry
from service.embedding import EmbeddingService
from service.fingerprint import fingerprint
from service.images import ImageResolver
from service.metrics import Metrics
from tests.service.images import data_uri, encoded
from tests.service.test_openai import listening

MODEL = "tiny@" + ("ab" * 32)[:12]


def unit(seed, dimensions=64):
    vector = np.random.default_rng(seed).normal(size=dimensions)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def add(client, *documents, **fields):
    return client.post("/collections/default/documents", json={"documents": list(documents), **fields})


def missing(client, **known):
    documents = [{"id": name, "fingerprint": mark} for name, mark in known.items()]
    answer = client.post("/collections/default/documents/missing", json={"documents": documents})
    assert answer.status_code == 200, answer.text
    return answer.json()["missing"]


def test_missing_documents_are_those_that_are_not_held_with_the_same_content(client):
    image = encoded()
    add(client, {"id": "a", "text": "x", "image": data_uri(image), "metadata": {"n": 1, "m": [None, 2.5]}})
    same = fingerprint("x", image, {"m": [None, 2.5], "n": 1})
    assert missing(client, a=same, b=same) == ["b"]
    for changed in (("y", image, {"n": 1}), ("x", None, {"n": 1}), ("x", image, {}), (None, image, {})):
        assert missing(client, a=fingerprint(*changed)) == ["a"]
    bad = {"documents": [{"id": "a", "fingerprint": "short"}]}
    assert client.post("/collections/default/documents/missing", json=bad).status_code == 422
    good = {"documents": [{"id": "a", "fingerprint": same}]}
    assert client.post("/collections/nowhere/documents/missing", json=good).status_code == 404


@pytest.mark.parametrize("form", ["numbers", "base64"])
def test_documents_with_vectors_are_written_as_they_are(client, form):
    vector = unit(1)
    sent = vector.tolist() if form == "numbers" else base64.b64encode(vector.tobytes()).decode()
    document = {"id": "v", "text": "x", "image": data_uri(encoded()), "metadata": {"n": 1}, "vector": sent}
    assert add(client, document, model=MODEL).status_code == 201
    [hit] = client.post("/search", json={"vector": vector.tolist(), "k": 1}).json()["results"]
    assert (hit["id"], hit["metadata"]) == ("v", {"n": 1})
    assert hit["score"] == pytest.approx(1.0, abs=1e-6)
    assert client.get(hit["image_url"]).content == encoded()


@pytest.mark.parametrize(
    ("vector", "part"),
    [
        (unit(1)[:63].tolist(), "63 numbers"),
        ((2 * unit(1)).tolist(), "length 2"),
        ([0.0] * 64, "length 0"),
        (base64.b64encode(np.full(64, np.nan, "<f4").tobytes()).decode(), "NaN"),
        (base64.b64encode(unit(1)[:10].tobytes()).decode(), "40 bytes"),
        ("no base64!", "not base64"),
    ],
)
def test_vectors_that_are_none_are_refused_by_name(client, vector, part):
    fine = {"text": "x", "vector": unit(2).tolist()}
    refused = add(client, fine, {"text": "y", "vector": vector}, model=MODEL)
    assert refused.status_code == 422
    [error] = refused.json()["errors"]
    assert error["field"] == "documents[1].vector"
    assert part in error["message"]
    assert client.get("/collections/default").json()["count"] == 0


def test_vectors_of_another_checkpoint_cannot_mix(client):
    document = {"text": "x", "vector": unit(1).tolist()}
    other = add(client, document, model="tiny@000000000000")
    assert (other.status_code, other.json()["type"]) == (409, "/problems/other-model")
    assert MODEL in other.json()["detail"]
    assert add(client, document).status_code == 422
    assert add(client, {"text": "x"}, model=MODEL).status_code == 422
    assert add(client, document, {"text": "x"}, model=MODEL).status_code == 422


class Counting(Engine):
    """Counts what it is given to embed."""

    def __init__(self, loaded, observer):
        super().__init__(loaded, EngineSettings(threads=1, dtype="float32"), observer)
        self.embedded = []

    def submit(self, item, options, deadline=None):
        self.embedded.append((item.text, options.priority))
        return super().submit(item, options, deadline)


def rows(*texts):
    return [Entry(f"{n}", f"id-{n}", text) for n, text in enumerate(texts)]


def bring(url, corpus, documents=4):
    total = Outcome()

    def report(part):
        total.added += part.added
        total.unchanged += part.unchanged
        total.failures += part.failures

    with Client(url) as client:
        upload(client, "default", corpus, Limits(documents, 10_000), report)
    return total


@pytest.fixture
def counted(make_settings, open_backend, loaded_model):
    settings = make_settings()
    made = []

    def open_it(opening):
        from service.runtime import Backend

        backend = open_backend(settings)(opening)
        backend.embedder.close()
        made.append(Counting(loaded_model, opening.observer))
        return Backend(made[0], backend.store)

    with listening(create_app(settings, open_it)) as url:
        yield url, made[0]


def test_a_job_that_was_cut_short_goes_on_where_it_stopped(counted):
    url, engine = counted
    corpus = rows(*(f"text {n}" for n in range(30)))

    def cut_short():
        yield from corpus[:17]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring(url, cut_short())
    deadline = time.monotonic() + 60
    while httpx.get(f"{url}/collections/default").json()["count"] < 12:  # batches under way are finished
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.1)
    before = len(engine.embedded)
    count = httpx.get(f"{url}/collections/default").json()["count"]
    outcome = bring(url, corpus)
    assert (outcome.added, outcome.unchanged, outcome.failures) == (30 - count, count, [])
    assert len(engine.embedded) == before + outcome.added
    assert {priority for _, priority in engine.embedded} == {DOCUMENT_PRIORITY}

    changed = rows(*(f"text {n}" if n != 5 else "changed" for n in range(30)))
    outcome = bring(url, changed)
    assert (outcome.added, outcome.unchanged) == (1, 29)
    assert engine.embedded[-1][0] == "changed"


def test_bad_documents_leave_the_rest_of_their_batch(counted):
    url, _ = counted
    corpus = rows("good", "too long " * 300, "good too", "too long " * 300, "last")
    again = Entry("again", "id-0", "another text")
    same = Entry("same", "content-1", "x", own_id=False)
    outcome = bring(url, [*corpus, Failure("here", "no document"), again, same, same], documents=8)
    assert (outcome.added, outcome.unchanged) == (4, 1)
    assert sorted(failure.source for failure in outcome.failures) == ["1", "3", "again", "here"]
    assert any("text:" in failure.reason for failure in outcome.failures)


def test_the_client_waits_as_it_is_told_and_sends_batches_side_by_side(monkeypatch):
    waits, seen = [], []
    monkeypatch.setattr("service.client.synchronous.time.sleep", waits.append)
    together = threading.Barrier(4)  # broken unless four batches are under way at a time

    def answer(request):
        documents = json.loads(request.content)["documents"]
        if request.url.path.endswith("/missing"):
            return httpx.Response(200, json={"missing": [document["id"] for document in documents]})
        if documents[0]["id"] not in seen:
            seen.append(documents[0]["id"])
            together.wait(60)
            return httpx.Response(429, json={"detail": "busy"}, headers={"Retry-After": "7"})
        return httpx.Response(201, json={"ids": []})

    total = []
    with Client("http://server", transport=httpx.MockTransport(answer)) as client:
        upload(client, "default", rows("a", "b", "c", "d"), Limits(1, 10_000), total.append)
    assert sum(part.added for part in total) == 4
    assert waits == [7.0] * 4


def test_batches_fit_the_servers_limits():
    def info(request):
        limits = {"max_items": 100, "max_queue": 20, "max_body_bytes": 4096}
        served = {"version": "1", "model": {}, "dimensions": 64, "augment_threshold": 0.5}
        return httpx.Response(200, json=served | {"limits": limits})

    with Client("http://server", transport=httpx.MockTransport(info)) as client:
        assert server_limits(client) == Limits(10, 2048)


def test_a_server_that_stays_busy_ends_the_command(monkeypatch):
    now = iter(range(0, 10_000, 200))
    monkeypatch.setattr("service.client.synchronous.time.sleep", lambda seconds: None)
    monkeypatch.setattr("service.client.patience.time.monotonic", lambda: next(now))
    busy = httpx.MockTransport(lambda request: httpx.Response(503, json={"detail": "starting"}))
    with (
        Client("http://server", transport=busy) as client,
        pytest.raises(CommandFailed) as ended,
        client.failing(),
    ):
        client.server.send(Call("POST", "/x", dict, {}))
    assert ended.value.exit_code == Exit.UNREACHABLE
    assert "starting" in ended.value.message


def test_bulk_work_leaves_half_of_the_queue_to_queries(loaded_model):
    engine = Engine(loaded_model, EngineSettings(threads=1, dtype="float32"))
    try:
        service = EmbeddingService(engine, ImageResolver(None, 1), Metrics(), max_queue=8)

        async def check():
            with service.admit(8, EmbedOptions(), math.inf, bulk=True):  # nothing else waits
                pass
            with (
                service.admit(1, EmbedOptions(), math.inf),
                service.admit(3, EmbedOptions(), math.inf, bulk=True),
            ):
                with pytest.raises(QueueFull), service.admit(1, EmbedOptions(), math.inf, bulk=True):
                    pass
                with service.admit(4, EmbedOptions(), math.inf):
                    pass

        asyncio.run(check())
    finally:
        engine.close()
