"""What the two clients do with answers, refusals and long lists; no model, no server."""

import asyncio
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import numpy as np
import pytest

from service.client import (
    AsyncSolomon,
    Document,
    Item,
    NotSolomon,
    Patience,
    ServerProblem,
    Solomon,
    Unreachable,
)
from service.client.errors import InvalidName
from service.client.outcomes import Outcome
from service.client.paths import document_path
from service.client.replies import seconds_to_wait
from tests.service.client.fake_server import DIMENSIONS, PICTURE, TOO_LONG
from tests.service.images import data_uri, encoded


def busy(retry_after=None, status=429):
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return httpx.Response(status, json={"detail": "busy"}, headers=headers)


def test_importing_it_loads_neither_the_model_nor_the_server():
    heavy = "torch transformers faiss fastapi starlette pydantic uvicorn PIL"
    code = f"import sys, service.client; print([m for m in {heavy.split()} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_long_list_is_embedded_in_batches_in_its_order(solomon, fake):
    texts = ["x" * n for n in range(1, 12)]
    answer = solomon.embed(texts, route="embed", dimensions=DIMENSIONS, truncate=True)
    assert (len(answer), answer.vectors.shape, answer.prompt_tokens) == (11, (11, DIMENSIONS), 11)
    for text, embedding in zip(texts, answer, strict=True):
        again = solomon.embed(text)
        np.testing.assert_array_equal(embedding.vector, again[0].vector)
    batches = [body["input"] for method, path, body in fake.calls if path == "/embed"][:3]
    assert sorted(len(batch) for batch in batches) == [3, 4, 4]
    first = next(body for method, path, body in fake.calls if path == "/embed")
    assert (first["route"], first["dimensions"], first["truncate"]) == ("embed", DIMENSIONS, True)


def test_batches_are_bounded_in_bytes_too(solomon, fake):
    solomon.embed(["x" * 1500, "y" * 1500, "z"])
    assert sorted(len(body["input"]) for _, path, body in fake.calls if path == "/embed") == [1, 2]


def test_nothing_is_embedded_as_nothing(solomon):
    assert len(solomon.embed([])) == 0


def test_items_carry_images_as_bytes_files_and_addresses(solomon, fake, tmp_path):
    picture = tmp_path / "a.png"
    picture.write_bytes(encoded())
    solomon.embed([Item("x", encoded()), Item(image=picture), Item(image="https://host/a.png")])
    sent = next(body["input"] for _, path, body in fake.calls if path == "/embed")
    assert sent == [
        {"text": "x", "image": data_uri(encoded())},
        {"image": data_uri(encoded())},
        {"image": "https://host/a.png"},
    ]
    with pytest.raises(ValueError, match="PNG"):
        solomon.embed(Item(image=b"no picture"))


def test_what_the_server_turns_away_is_sent_again_when_it_says(solomon, fake, waits):
    fake.refusals += [busy("7"), busy("3", status=503)]
    assert solomon.info().dimensions == DIMENSIONS
    assert waits == [7.0, 3.0]


def test_an_image_is_asked_for_again_too(solomon, fake, waits):
    fake.refusals += [busy("2"), httpx.ReadError("cut")]
    assert solomon.image("a/b", "mine") == PICTURE
    assert fake.paths() == ["GET /collections/mine/documents/a/b/image"] * 3
    assert (waits[0], len(waits)) == (2.0, 2)
    fake.refusals += [httpx.Response(404, json={"detail": "No such document."})]
    with pytest.raises(ServerProblem, match="No such document"):
        solomon.image("nothing")


def test_the_event_loop_reads_no_files(fake, tmp_path, monkeypatch):
    picture = tmp_path / "a.png"
    picture.write_bytes(encoded())
    read, readers = Path.read_bytes, []

    def noted(path):
        readers.append(threading.current_thread())
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", noted)

    async def use():
        async with AsyncSolomon("http://server", transport=httpx.MockTransport(fake)) as solomon:
            await solomon.embed([Item(image=picture), "text", Item("x", picture)])
            with pytest.raises(ServerProblem):  # the fake does not search
                await solomon.search(Item(image=picture))

    asyncio.run(use())
    assert len(readers) == 3
    assert threading.main_thread() not in readers


def test_without_a_word_from_the_server_pauses_grow_to_a_bound(make_client, fake, waits):
    fake.refusals += [busy() for _ in range(5)] + [httpx.Response(502, html="<h1>Bad Gateway</h1>")]
    make_client(fake, patience=Patience(60, first=1, most=4)).info()
    for pause, most in zip(waits, (1, 2, 4, 4, 4, 4), strict=True):
        assert most / 2 <= pause <= most


def test_patience_ends(make_client, fake, waits):
    fake.refusals += [busy("61")]
    with pytest.raises(ServerProblem) as refused:
        make_client(fake, patience=Patience(60)).info()
    assert (refused.value.status, refused.value.retry_after, waits) == (429, 61.0, [])


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 500, 504])
def test_what_another_attempt_would_not_mend_is_raised_at_once(solomon, fake, waits, status):
    error = {"field": "input[1].text", "message": "Bad."}
    fake.refusals += [httpx.Response(status, json={"detail": "It is so.", "errors": [error]})]
    with pytest.raises(ServerProblem, match="It is so") as refused:
        solomon.info()
    assert (refused.value.errors, waits) == ([error], [])


def test_a_broken_connection_is_tried_again_unless_that_could_do_harm(solomon, fake, waits):
    fake.refusals += [httpx.ReadError("cut"), httpx.ConnectError("none")]
    solomon.info()
    assert len(waits) == 2
    fake.refusals += [httpx.ReadError("cut")]
    with pytest.raises(Unreachable):
        solomon.drop_collection("a")
    fake.refusals += [httpx.ConnectError("none")]
    solomon.drop_collection("b")
    assert fake.paths()[-1] == "DELETE /collections/b"


def test_a_stranger_is_told_from_a_server(solomon, fake):
    fake.refusals += [httpx.Response(200, html="<h1>Welcome</h1>")]
    with pytest.raises(NotSolomon):
        solomon.info()


def test_retry_after_may_be_a_date():
    soon = datetime.now(UTC) + timedelta(seconds=30)
    assert 25 < seconds_to_wait(format_datetime(soon, usegmt=True)) <= 30
    assert seconds_to_wait("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert seconds_to_wait("soon") is None


def documents(count):
    return [Document(f"text {n}", id=f"id-{n}", metadata={"n": n}) for n in range(count)]


def test_documents_are_brought_in_batches_and_not_twice(solomon, fake):
    assert solomon.add(documents(10), "mine") == Outcome(added=10)
    assert fake.stored["id-3"]["metadata"] == {"n": 3}
    assert solomon.add(documents(12), "mine") == Outcome(added=2, unchanged=10)
    assert max(len(body["documents"]) for _, _, body in fake.calls if body) == 4


def test_bad_documents_never_stop_the_others(solomon, fake, tmp_path):
    given = [
        Document("good", id="a"),
        Document(TOO_LONG, id="b"),
        Document(id="c"),
        Document(image=tmp_path / "nowhere.png", id="d"),
        Document("again", id="a"),
        Document(image=b"no picture"),
        Document("good too"),
        Document("good too"),
    ]
    outcome = solomon.add(given)
    assert (outcome.added, outcome.unchanged) == (2, 1)
    assert {failure.source: failure.reason for failure in outcome.failures}.keys() == {
        "a",
        "b",
        "c",
        "d",
        "documents[5]",
    }
    assert "text: It is too long." in {failure.reason for failure in outcome.failures}


def test_no_more_is_taken_from_an_iterator_than_is_under_way(fake):
    taken = []

    def endless():
        number = 0
        while True:
            taken.append(number)
            yield Document(f"text {number}")
            number += 1

    with Solomon("http://server", transport=httpx.MockTransport(fake), concurrency=2) as solomon:
        outcomes = solomon.ingest(endless())
        assert next(outcomes).added == 4
        assert len(taken) <= 4 * 2 + 1
        outcomes.close()


def test_the_environment_names_server_and_key(monkeypatch):
    monkeypatch.setenv("SOLOMON_URL", "http://elsewhere:1/")
    monkeypatch.setenv("SOLOMON_API_KEY", "k1")
    seen = []

    def answer(request):
        seen.append((str(request.url), request.headers.get("authorization")))
        return httpx.Response(200, json={"collections": []})

    with Solomon(transport=httpx.MockTransport(answer)) as solomon:
        assert solomon.collections() == []
    assert seen == [("http://elsewhere:1/collections", "Bearer k1")]


def nowhere(request):
    pytest.fail(f"{request.method} {request.url}")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../info", "a/documents/1", "A", "a b", "a" * 65])
def test_what_is_no_collections_name_is_sent_nowhere(name):
    with Solomon("http://127.0.0.1:9", transport=httpx.MockTransport(nowhere)) as to:
        for call in (to.collection, to.drop_collection):
            with pytest.raises(ValueError, match="no collection's name"):
                call(name)


@pytest.mark.parametrize("document_id", ["", ".", ".."])
def test_an_id_that_would_lead_to_the_collection_is_sent_nowhere(document_id):
    """`..` takes away what stands before it: the collection would be dropped."""
    with Solomon("http://127.0.0.1:9", transport=httpx.MockTransport(nowhere)) as to:
        for call in (to.delete, to.document):
            with pytest.raises(InvalidName, match="no document's id"):
                call(document_id, collection="notes")


def test_dots_and_slashes_within_an_id_are_its_own():
    assert document_path("notes", "a/../b") == "/collections/notes/documents/a%2F..%2Fb"
