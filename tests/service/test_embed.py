import base64
import time

import numpy as np
import pytest

from tests.service.images import bomb, data_uri, encoded
from tests.service.problems import fields, problem


def test_one_text_gives_one_unit_vector(client):
    body = client.post("/embed", json={"input": "a red circle"}).json()
    assert (body["model"], body["dimensions"]) == ("tiny", 64)
    [entry] = body["data"]
    assert np.linalg.norm(entry["embedding"]) == pytest.approx(1, abs=1e-5)
    assert entry["route"] in ("embed", "augment")
    assert 0.0 <= entry["confidence"] <= 1.0
    assert body["usage"]["prompt_tokens"] > 0
    assert body["latency_ms"] > 0


def test_kinds_of_items_mix_in_a_list_and_keep_their_order(client):
    image = data_uri(encoded())
    items = ["one", {"image": image}, {"text": "two", "image": image}]
    listed = client.post("/embed", json={"input": items, "route": "embed"}).json()
    single = [
        client.post("/embed", json={"input": item, "route": "embed"}).json()["data"][0]["embedding"]
        for item in items
    ]
    assert [entry["index"] for entry in listed["data"]] == [0, 1, 2]
    np.testing.assert_allclose([entry["embedding"] for entry in listed["data"]], single, atol=1e-4)
    assert listed["usage"]["image_tokens"] > 0


def test_forced_augmentation_writes_and_documents_take_no_route(client):
    forced = client.post("/embed", json={"input": "why?", "route": "augment", "max_augment_tokens": 3}).json()
    assert forced["data"][0]["route"] == "augment"
    assert isinstance(forced["data"][0]["augmentation"], str)
    assert forced["usage"]["augment_tokens"] <= 3
    document = client.post("/embed", json={"input": "why?", "input_type": "document"}).json()["data"][0]
    assert (document["route"], document["confidence"], document["augmentation"]) == (None, None, None)


def test_threshold_decides(client):
    def route(threshold):
        call = {"input": "hm", "augment_threshold": threshold, "max_augment_tokens": 1}
        return client.post("/embed", json=call).json()["data"][0]["route"]

    assert (route(0), route(1)) == ("augment", "embed")


def test_base64_equals_float(client):
    call = {"input": "same", "route": "embed"}
    numbers = client.post("/embed", json=call).json()["data"][0]["embedding"]
    text = client.post("/embed", json={**call, "encoding_format": "base64"}).json()["data"][0]["embedding"]
    assert np.frombuffer(base64.b64decode(text), "<f4").tolist() == numbers


def test_dimensions_cut_and_scale(client):
    call = {"input": "same", "route": "embed"}
    whole = np.array(client.post("/embed", json=call).json()["data"][0]["embedding"])
    short = client.post("/embed", json={**call, "dimensions": 16}).json()
    assert short["dimensions"] == 16
    head = whole[:16] / np.linalg.norm(whole[:16])
    np.testing.assert_allclose(short["data"][0]["embedding"], head, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "field"),
    [
        ({}, "input"),
        ({"input": 5}, "input"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": {"text": "  "}}, "input.text"),
        ({"input": {}}, "input.text"),
        ({"input": ["good", ""]}, "input[1]"),
        ({"input": ["good", 7]}, "input[1]"),
        ({"input": ["good", {}]}, "input[1].text"),
        ({"input": ["good", {"text": 7}]}, "input[1].text"),
        ({"input": ["good", {"text": "x", "txet": "y"}]}, "input[1].txet"),
        ({"input": "x", "rout": "embed"}, "rout"),
        ({"input": "x", "route": "maybe"}, "route"),
        ({"input": "x", "input_type": "thing"}, "input_type"),
        ({"input": "x", "augment_threshold": 1.5}, "augment_threshold"),
        ({"input": "x", "augment_threshold": "much"}, "augment_threshold"),
        ({"input": "x", "max_augment_tokens": 0}, "max_augment_tokens"),
        ({"input": "x", "max_augment_tokens": 100_000}, "max_augment_tokens"),
        ({"input": "x", "dimensions": 0}, "dimensions"),
        ({"input": "x", "dimensions": 65}, "dimensions"),
        ({"input": "x", "dimensions": True}, "dimensions"),
        ({"input": "x", "truncate": "yes"}, "truncate"),
        ({"input": "x", "augment_threshold": "0.5"}, "augment_threshold"),
        ({"input": "x", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "x", "input_type": "document", "route": "augment"}, "route"),
        ({"input": {"image": "hello"}}, "input.image"),
        ({"input": {"image": "data:image/png;base64,%%%"}}, "input.image"),
        ({"input": {"image": "http://example.org/a.png"}}, "input.image"),
        ({"input": {"image": "https://example.org/a.png"}}, "input.image"),
        ({"input": ["x"] * 257}, "input"),
        ({"input": [7] * 100_000}, "input"),
        ({f"field_{number}": 1 for number in range(100_000)}, "body"),
    ],
)
def test_bad_input_is_named(client, call, field):
    body = problem(client.post("/embed", json=call), 422, "invalid-input")
    assert fields(body) == [field]
    assert body["errors"][0]["message"]
    assert body["errors"][0]["mend"]


def test_a_picture_may_come_in_either_base64_padded_or_not(client):
    standard = data_uri(encoded())
    head, _, body = standard.partition(",")
    other_ways = [standard.rstrip("="), f"{head},{body.translate(str.maketrans('+/', '-_'))}"]
    answers = [
        client.post("/embed", json={"input": {"image": image}, "route": "embed"}).json()["data"]
        for image in (standard, *other_ways)
    ]
    assert answers[1] == answers[0]
    assert answers[2] == answers[0]


def test_too_long_is_refused_unless_truncated(client):
    call = {"input": ["short", "word " * 500]}
    body = problem(client.post("/embed", json=call), 422, "too-long")
    assert fields(body) == ["input[1]"]
    assert "160" in body["detail"]
    assert client.post("/embed", json={**call, "truncate": True, "route": "embed"}).status_code == 200


@pytest.mark.parametrize(
    ("image", "status", "kind"),
    [
        (data_uri(b"just a text, not an image"), 415, "not-an-image"),
        (data_uri(b"hello", "text/plain"), 415, "not-an-image"),
        (data_uri(b""), 415, "not-an-image"),
        (data_uri(encoded(200, 200, kind="JPEG")[:600], "image/jpeg"), 415, "not-an-image"),
        (data_uri(encoded(20_000, 20)), 413, "image-too-large"),
        (data_uri(bomb()), 413, "image-too-large"),
        (data_uri(bytes(21 * 2**20)), 413, "image-too-large"),
    ],
    ids=["text", "text-type", "empty", "truncated", "wide", "bomb", "bytes"],
)
def test_bad_images_fail_the_request_alone(client, image, status, kind):
    body = problem(client.post("/embed", json={"input": ["good", {"image": image}]}), status, kind)
    assert fields(body) == ["input[1].image"]
    assert client.post("/embed", json={"input": "still here", "route": "embed"}).status_code == 200


def test_broken_json_and_other_media_types(client):
    headers = {"content-type": "application/json"}
    problem(client.post("/embed", content=b'{"input": ', headers=headers), 400, "malformed-body")
    deep = b"[" * 200_000
    nested = problem(client.post("/embed", content=deep, headers=headers), 400, "malformed-body")
    assert "nested too deeply" in nested["detail"]
    long_number = b'{"input": ' + b"7" * 5_000 + b"}"
    digits = problem(client.post("/embed", content=long_number, headers=headers), 400, "malformed-body")
    assert "digits" in digits["detail"]
    problem(client.post("/embed", content=b"\xff\xfe", headers=headers), 400, "malformed-body")
    surrogate = b'{"input": "\\ud800"}'
    assert fields(problem(client.post("/embed", content=surrogate, headers=headers), 422, "invalid-input"))
    problem(
        client.post("/embed", content=b"input=x", headers={"content-type": "text/plain"}), 415, "not-json"
    )
    nan = b'{"input": "x", "augment_threshold": NaN}'
    assert fields(problem(client.post("/embed", content=nan, headers=headers), 422, "invalid-input"))


def test_a_full_queue_refuses_all_or_nothing(serve):
    with serve(engine={"max_queue": 4}) as client:
        response = client.post("/embed", json={"input": ["x"] * 64, "route": "augment"})
        body = problem(response, 429, "queue-full")
        assert int(response.headers["retry-after"]) >= 1
        assert "queue" in body["detail"]
        assert recovers(client)


def recovers(client, tries=200):
    """Whether one item is served again, once the engine's next turn has dropped what was cancelled."""
    for _ in range(tries):
        if client.post("/embed", json={"input": "x", "route": "embed"}).status_code == 200:
            return True
        time.sleep(0.05)
    return False


def test_a_passed_deadline_is_504(serve):
    with serve(request_timeout_seconds=1e-6) as client:
        problem(client.post("/embed", json={"input": "x"}), 504, "deadline-exceeded")
