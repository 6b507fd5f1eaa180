"""OpenAI's own client against a real server on a real socket."""

import base64
import contextlib
import socket
import threading
import time

import httpx
import numpy as np
import openai
import pytest
import uvicorn

from service.app import create_app
from tests.service.images import data_uri, encoded


@contextlib.contextmanager
def listening(app):
    """Serve an application on a free port; yields its address."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/readyz").status_code == 200:
                    break
            assert time.monotonic() < deadline, "the server did not become ready"
            time.sleep(0.02)
        yield url
    finally:
        server.should_exit = True
        thread.join(60)
        listener.close()
        assert not thread.is_alive()


@pytest.fixture
def url(make_settings, open_backend):
    settings = make_settings(api_keys="the-key")
    # Readiness is open; everything else needs the key.
    with listening(create_app(settings, open_backend(settings))) as url:
        yield url


@pytest.fixture
def sdk(url):
    with openai.OpenAI(base_url=f"{url}/v1", api_key="the-key", max_retries=0) as sdk:
        yield sdk


def test_the_client_embeds_texts(sdk):
    answer = sdk.embeddings.create(model="tiny", input=["one", "two"])
    assert [entry.index for entry in answer.data] == [0, 1]
    assert answer.model == "tiny"
    assert answer.usage.prompt_tokens > 0
    for entry in answer.data:
        assert np.linalg.norm(entry.embedding) == pytest.approx(1, abs=1e-5)
    single = sdk.embeddings.create(model="solomon", input="one", dimensions=8, encoding_format="float")
    assert len(single.data[0].embedding) == 8


def test_its_base64_is_our_float(sdk, url):
    by_client = sdk.embeddings.create(model="tiny", input="same", extra_body={"route": "embed"})
    ours = httpx.post(
        f"{url}/embed",
        json={"input": "same", "route": "embed", "encoding_format": "base64"},
        headers={"X-API-Key": "the-key"},
    ).json()
    vector = np.frombuffer(base64.b64decode(ours["data"][0]["embedding"]), "<f4")
    np.testing.assert_array_equal(np.array(by_client.data[0].embedding, dtype=np.float32), vector)


def test_items_of_text_and_image_are_an_extension(sdk):
    item = {"text": "what?", "image": data_uri(encoded())}
    assert len(sdk.embeddings.create(model="tiny", input=[item, "text"]).data) == 2


def test_models_are_listed(sdk):
    assert [model.id for model in sdk.models.list()] == ["tiny", "solomon"]
    assert sdk.models.retrieve("solomon").owned_by == "solomon"
    with pytest.raises(openai.NotFoundError):
        sdk.models.retrieve("gpt")


def test_errors_arrive_as_the_clients_own(sdk, url):
    with pytest.raises(openai.NotFoundError) as unknown:
        sdk.embeddings.create(model="text-embedding-3-small", input="x")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as tokens:
        sdk.embeddings.create(model="tiny", input=[1, 2, 3])
    assert "Token arrays" in tokens.value.message
    with pytest.raises(openai.BadRequestError):
        sdk.embeddings.create(model="tiny", input=[[1, 2, 3]])
    with pytest.raises(openai.UnprocessableEntityError) as empty:
        sdk.embeddings.create(model="tiny", input=["good", ""])
    assert empty.value.param == "input[1]"
    with pytest.raises(openai.UnprocessableEntityError):
        sdk.embeddings.create(model="tiny", input="x", dimensions=65)
    with pytest.raises(openai.UnprocessableEntityError, match="Documents are never augmented"):
        sdk.embeddings.create(
            model="tiny", input="x", extra_body={"input_type": "document", "route": "augment"}
        )
    with (
        openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.models.list()


def test_a_client_that_goes_away_frees_its_slots(make_settings, open_backend):
    settings = make_settings()
    app = create_app(settings, open_backend(settings, max_batch_size=1))
    with listening(app) as url:
        engine, metrics = app.state.runtime.services.backend.embedder, app.state.runtime.metrics
        gate = threading.Event()
        metrics.on_step = lambda *_: gate.wait(60)  # the engine's thread stands still after its first step
        submit, submitted = engine.submit, []

        def remembering(*arguments):
            submitted.append(submit(*arguments))
            return submitted[-1]

        engine.submit = remembering
        with pytest.raises(httpx.TimeoutException):
            httpx.post(f"{url}/embed", json={"input": ["a"] * 32, "route": "embed"}, timeout=1)
        deadline = time.monotonic() + 60
        while not (submitted and all(future.done() for future in submitted)):
            assert time.monotonic() < deadline, "work for a client that is gone goes on"
            time.sleep(0.02)
        assert any(future.cancelled() for future in submitted)
        gate.set()
        assert httpx.post(f"{url}/embed", json={"input": "x", "route": "embed"}).status_code == 200


def test_a_hundred_megabytes_over_a_socket(make_settings, open_backend):
    settings = make_settings()
    app = create_app(settings, open_backend(settings))
    chunk = b"x" * 2**20

    def body():
        yield b'{"input": "'
        for _ in range(100):
            yield chunk

    with listening(app) as url:
        headers = {"content-type": "application/json"}
        declared = httpx.post(f"{url}/embed", content=b"x" * (100 * 2**20), headers=headers, timeout=60)
        assert declared.status_code == 413
        streamed = httpx.post(f"{url}/embed", content=body(), headers=headers, timeout=60)
        assert streamed.status_code == 413
        assert streamed.headers["content-type"] == "application/problem+json"
        assert httpx.get(f"{url}/readyz").status_code == 200


@pytest.mark.parametrize("left_out", [{"encoding_format": None}, {"dimensions": None}, {"user": None}])
def test_null_is_as_good_as_left_out(url, left_out):
    body = {"model": "tiny", "input": "one", **left_out}
    answer = httpx.post(f"{url}/v1/embeddings", json=body, headers={"X-API-Key": "the-key"})
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["data"][0]["embedding"]) == 64
