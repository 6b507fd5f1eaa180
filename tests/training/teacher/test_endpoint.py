"""The client against a real server: what is tried again, when, and what is never told."""

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from fastapi.responses import JSONResponse, Response
from openai import OpenAI

from tests.training.teacher.fake_endpoint import GOOD, completion, failure, serving
from training.teacher.endpoint import (
    Endpoint,
    EndpointSettings,
    EndpointUnavailable,
    RequestFailed,
    retry_after_seconds,
)

KEY = "sk-very-secret"
MESSAGES = [{"role": "user", "content": [{"type": "text", "text": "Query: x"}]}]


def ask(fake, count=1, key=KEY, **settings):
    """`count` completions at once, and the endpoint that made them."""
    chosen = EndpointSettings(fake.url, "teacher", **{"backoff": 0.01, "timeout": 60.0, **settings})

    async def run():
        async with Endpoint(chosen, key) as endpoint:
            asked = (endpoint.complete(MESSAGES, 0.0, seed=0) for _ in range(count))
            return await asyncio.gather(*asked), endpoint

    return asyncio.run(run())


def failing_first(*failures):
    """The failures in order, then a good completion."""
    return lambda received, number: failures[number] if number < len(failures) else completion("fine")


def test_a_completion_with_its_tokens(endpoint):
    (found,), client = ask(endpoint)
    assert found.text == GOOD.format("an answer")
    assert (found.prompt_tokens, found.completion_tokens, found.finish_reason) == (100, 10, "stop")
    (received,) = endpoint.received
    assert received.headers["authorization"] == f"Bearer {KEY}"
    assert received.body["model"] == "teacher"
    assert received.body["messages"] == MESSAGES
    assert (received.body["temperature"], received.body["max_tokens"], received.body["seed"]) == (0, 512, 0)
    assert (client.requests, client.retries) == (1, 0)


def test_requests_and_replies_are_those_of_openais_own_client(endpoint):
    (found,), _ = ask(endpoint, limit_field="max_completion_tokens")
    with OpenAI(base_url=endpoint.url, api_key=KEY) as client:
        reply = client.chat.completions.create(
            model="teacher", messages=MESSAGES, temperature=0.0, max_completion_tokens=512, seed=0
        )
    ours, theirs = endpoint.received
    assert ours.body == theirs.body
    assert ours.headers["authorization"] == theirs.headers["authorization"]
    assert ours.headers["content-type"] == theirs.headers["content-type"]
    assert reply.choices[0].message.content == found.text
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (100, 10)


def test_no_key_means_no_header(endpoint):
    ask(endpoint, key=None)
    assert "authorization" not in endpoint.received[0].headers


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_passing_failures_are_tried_again(endpoint, status):
    endpoint.respond = failing_first(failure(status), failure(status))
    (found,), client = ask(endpoint)
    assert found.text == "fine"
    assert (len(endpoint.received), client.requests, client.retries) == (3, 3, 2)


def test_retry_after_is_honoured_by_all_requests(endpoint):
    endpoint.respond = failing_first(failure(429, Retry_After="1"))
    started = time.monotonic()
    chosen = EndpointSettings(endpoint.url, "teacher", backoff=0.01)

    async def run():
        async with Endpoint(chosen, KEY) as client:
            first = asyncio.create_task(client.complete(MESSAGES, 0.0, 0))
            while client.retries == 0:
                await asyncio.sleep(0.01)
            await asyncio.gather(first, client.complete(MESSAGES, 0.0, 0))

    asyncio.run(run())
    refused, *later = (received.at for received in endpoint.received)
    assert len(later) == 2
    assert refused >= started
    assert all(at - refused >= 0.95 for at in later)  # the clock that is compared is the server's


def test_too_long_a_wait_ends_the_run(endpoint):
    endpoint.respond = failing_first(failure(429, Retry_After="86400"))
    with pytest.raises(EndpointUnavailable, match=r"wait 86400 s.*kept"):
        ask(endpoint)
    assert len(endpoint.received) == 1


def test_attempts_are_bounded(endpoint):
    endpoint.respond = lambda received, number: failure(500, "cuda out of memory")
    with pytest.raises(RequestFailed, match=r"3 attempts failed.*500 cuda out of memory"):
        ask(endpoint, attempts=3)
    assert len(endpoint.received) == 3


def test_a_slow_reply_is_tried_again_and_then_failed():
    answered = threading.Event()

    def slow(received, number):
        answered.wait(60)
        return completion("too late")

    async def run(url):
        async with Endpoint(
            EndpointSettings(url, "teacher", timeout=0.3, attempts=2, backoff=0.01), KEY
        ) as client:
            with pytest.raises(RequestFailed, match=r"2 attempts failed.*Timeout"):
                await client.complete(MESSAGES, 0.0, 0)
            return client.requests

    with serving() as fake:  # its own server: what is late must not reach another test
        fake.respond = slow
        try:
            assert asyncio.run(run(fake.url)) == 2
        finally:
            answered.set()


def test_nobody_listening_is_a_failed_request():
    settings = EndpointSettings("http://127.0.0.1:9/v1", "teacher", attempts=2, backoff=0.01)

    async def run():
        async with Endpoint(settings, None) as client:
            await client.complete(MESSAGES, 0.0, 0)

    with pytest.raises(RequestFailed, match="ConnectError"):
        asyncio.run(run())


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_query_is_not_tried_again(endpoint, status):
    endpoint.respond = lambda received, number: failure(status, "image too large")
    with pytest.raises(RequestFailed, match=f"refused the query: {status} image too large"):
        ask(endpoint)
    assert len(endpoint.received) == 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_address_or_model_ends_the_run(endpoint, status):
    endpoint.respond = lambda received, number: failure(status, f"Incorrect API key: {KEY}")
    with pytest.raises(EndpointUnavailable, match=f"{status} Incorrect API key") as caught:
        ask(endpoint)
    assert KEY not in str(caught.value)
    assert "***" in str(caught.value)
    assert len(endpoint.received) == 1


@pytest.mark.parametrize(
    "response",
    [
        Response("<html>proxy</html>", media_type="text/html"),
        JSONResponse({"choices": []}),
        JSONResponse(["no", "object"]),
        JSONResponse({"choices": [{"message": {"content": None}, "finish_reason": "length"}]}),
        JSONResponse({"choices": [{"message": "text"}], "usage": "much"}),
    ],
)
def test_a_body_that_is_no_completion_has_no_text(endpoint, response):
    endpoint.respond = lambda received, number: response
    (found,), _ = ask(endpoint)
    assert found.text is None


def test_redirects_are_not_followed_with_the_key(endpoint):
    elsewhere = {"Location": "http://127.0.0.1:9/"}
    endpoint.respond = lambda received, number: Response(status_code=307, headers=elsewhere)
    with pytest.raises(RequestFailed, match="307"):
        ask(endpoint)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("host:8000/v1", "begin with http"),
        ("ftp://host/v1", "begin with http"),
        ("http://me:secret@host/v1", "no user"),
        ("http://host/v1?api_key=secret", "no user, password or parameters"),
        ("http://host:port/v1", "no URL"),
    ],
)
def test_an_address_that_cannot_be_or_holds_a_secret_is_refused(url, problem):
    with pytest.raises(ValueError, match=problem) as caught:
        EndpointSettings(url, "teacher")
    assert "secret" not in str(caught.value)


def test_a_key_that_no_header_can_hold_is_refused_without_being_told():
    settings = EndpointSettings("http://host/v1/", "teacher")
    assert settings.completions_url == "http://host/v1/chat/completions"
    for key in ("sk-\nsecret", "sk-sécret"):
        with pytest.raises(ValueError, match="no header") as caught:
            Endpoint(settings, key)
        assert key not in str(caught.value)


def test_retry_after_is_seconds_or_a_date():
    assert retry_after_seconds("2.5") == 2.5
    assert retry_after_seconds("-1") == 0
    assert retry_after_seconds(None) is None
    assert retry_after_seconds("soon") is None
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert 90 < retry_after_seconds(later) <= 100
    assert retry_after_seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0
