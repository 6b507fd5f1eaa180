"""A server with API keys and a short queue, set through the environment."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

KEYS = ("first-key", "second-key")
ITEMS = 8


@pytest.fixture(scope="module")
def guarded(start_server):
    settings = {"SOLOMON_API_KEYS": ", ".join(KEYS), "SOLOMON_MAX_ITEMS": str(ITEMS)}
    return start_server(**settings, SOLOMON_MAX_QUEUE=str(ITEMS), SOLOMON_MAX_BODY_BYTES="65536")


@pytest.fixture
def stranger(guarded):
    with httpx.Client(base_url=guarded.url, timeout=180) as client:
        yield client


@pytest.fixture
def known(guarded):
    headers = {"Authorization": f"Bearer {KEYS[1]}"}
    with httpx.Client(base_url=guarded.url, timeout=180, headers=headers) as client:
        yield client


@pytest.mark.parametrize("path", ["/info", "/metrics", "/collections", "/v1/models"])
def test_without_a_key_nothing_is_told(stranger, path):
    response = stranger.get(path)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"


def test_the_page_is_there_to_ask_for_a_key_and_the_docs_to_be_read(stranger):
    for path in ("/", "/docs", "/docs/docs.js", "/openapi.json", "/problems/unauthenticated"):
        assert stranger.get(path).status_code == 200
    assert stranger.get("/page/main.js").status_code == 200


def test_a_wrong_key_is_refused(stranger):
    for key in ("third-key", "first-ke", ", ".join(KEYS), ""):
        answer = stranger.post("/embed", json={"input": "x"}, headers={"X-API-Key": key})
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"


def test_health_is_open(stranger):
    assert stranger.get("/healthz").status_code == 200
    assert stranger.get("/readyz").status_code == 200


def test_each_key_is_accepted_in_either_header(stranger):
    for key in KEYS:
        for headers in ({"Authorization": f"Bearer {key}"}, {"X-API-Key": key}):
            assert stranger.get("/collections", headers=headers).status_code == 200


def test_openais_client_sends_its_key(guarded):
    with openai.OpenAI(base_url=f"{guarded.url}/v1", api_key=KEYS[0], max_retries=0) as api:
        assert api.models.list().data
    wrong = openai.OpenAI(base_url=f"{guarded.url}/v1", api_key="wrong", max_retries=0)
    with wrong, pytest.raises(openai.AuthenticationError):
        wrong.models.list()


def test_limits_are_those_that_were_set(known):
    limits = known.get("/info").json()["limits"]
    assert (limits["max_items"], limits["max_queue"], limits["max_body_bytes"]) == (ITEMS, ITEMS, 65536)
    assert known.post("/embed", json={"input": ["x"] * (ITEMS + 1)}).status_code == 422
    assert known.post("/embed", json={"input": "x" * 70_000}).status_code == 413


def test_a_full_queue_answers_429_and_when_to_come_back(known):
    call = {"input": ["Why is the sky blue?"] * ITEMS, "route": "augment"}
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda _: known.post("/embed", json=call), range(64)))
    statuses = [answer.status_code for answer in answers]
    # The queue was empty and holds one call: the first is served, whatever the others do.
    assert set(statuses) == {200, 429}
    for answer in answers:
        if answer.status_code == 429:
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["type"] == "/problems/queue-full"
    assert known.post("/embed", json={"input": "x", "route": "embed"}).status_code == 200
