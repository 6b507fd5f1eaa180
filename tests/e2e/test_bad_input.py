"""Bad input over HTTP: the promised status, a problem document, the field at fault, and a live server."""

import struct
import zlib

import pytest

from tests.e2e.inputs import data_uri, noise


def png_of_zeros(width, height):
    """A PNG whose header promises width x height pixels; a few KiB on the wire."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(3 * width + 1) * min(height, 50), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


TEXT_AS_IMAGE = data_uri(b"this is a text, not an image")
TRUNCATED_JPEG = data_uri(noise(7, 256, "JPEG")[:2000], "image/jpeg")
WIDE_IMAGE = data_uri(png_of_zeros(20_000, 20))
BOMB = data_uri(png_of_zeros(16_000, 16_000))


def check_problem(response, status, field):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == status
    assert body["type"].startswith("/problems/")
    assert body["title"]
    assert body["detail"]
    if field is not None:
        assert field in [error["field"] for error in body["errors"]]
    return body


@pytest.mark.parametrize(
    ("call", "status", "field"),
    [
        ({"input": 5}, 422, "input"),
        ({"input": ["fine", 5]}, 422, "input[1]"),
        ({"input": {"text": 5}}, 422, "input.text"),
        ({"input": "x", "route": "sometimes"}, 422, "route"),
        ({"input": "x", "augment_threshold": 2}, 422, "augment_threshold"),
        ({"input": "x", "max_augment_tokens": "many"}, 422, "max_augment_tokens"),
        ({"input": "x", "dimensions": 100_000}, 422, "dimensions"),
        ({}, 422, "input"),
        ({"input": []}, 422, "input"),
        ({"input": ""}, 422, "input"),
        ({"input": {}}, 422, "input.text"),
        ({"input": ["x"] * 257}, 422, "input"),
        ({"input": "x", "colour": "red"}, 422, "colour"),
        ({"input": {"text": "x", "picture": "y"}}, 422, "input.picture"),
        ({"input": "word " * 5000}, 422, "input"),
        ({"input": {"image": TEXT_AS_IMAGE}}, 415, "input.image"),
        ({"input": ["fine", {"image": TRUNCATED_JPEG}]}, 415, "input[1].image"),
        ({"input": {"image": WIDE_IMAGE}}, 413, "input.image"),
        ({"input": {"image": BOMB}}, 413, "input.image"),
        ({"input": {"image": "https://example.org/a.png"}}, 422, "input.image"),
    ],
    ids=lambda value: str(value)[:50] if isinstance(value, dict) else None,
)
def test_embed(client, call, status, field):
    check_problem(client.post("/embed", json=call), status, field)
    assert client.post("/embed", json={"input": "still here", "route": "embed"}).status_code == 200


@pytest.mark.parametrize(
    ("call", "status", "field"),
    [
        ({"query": "x", "k": 0}, 422, "k"),
        ({"query": "x", "k": 1001}, 422, "k"),
        ({"query": "x", "collection": "nowhere"}, 404, None),
        ({"vector": [1.0, 0.0, 0.0]}, 422, "vector"),
        ({"vector": ["a"]}, 422, "vector[0]"),
        ({"query": "x", "filter": {}}, 422, "filter"),
        ({"query": "x", "filter": {"year": {"near": 2000}}}, 422, "filter.year.near"),
        ({"query": {"image": TEXT_AS_IMAGE}}, 415, "query.image"),
        ({"query": "x", "limit": 3}, 422, "limit"),
    ],
    ids=lambda value: str(value)[:50] if isinstance(value, dict) else None,
)
def test_search(client, call, status, field):
    check_problem(client.post("/search", json=call), status, field)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/collections/nowhere", 404),
        ("DELETE", "/collections/nowhere", 404),
        ("POST", "/collections/nowhere/documents", 404),
        ("GET", "/collections/default/documents/nothing", 404),
        ("PUT", "/collections/Not%20A%20Name", 422),
        ("GET", "/no-such-call", 404),
        ("DELETE", "/embed", 405),
    ],
)
def test_addresses(client, method, path, status):
    body = {"documents": [{"text": "x"}]} if method == "POST" else None
    check_problem(client.request(method, path, json=body), status, None)


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b'{"input": ', "application/json", 400),
        (b"\xff\xfe\x00", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"input=x", "application/x-www-form-urlencoded", 415),
    ],
)
def test_bodies_that_are_no_json(client, content, media_type, status):
    check_problem(client.post("/embed", content=content, headers={"content-type": media_type}), status, None)


@pytest.mark.parametrize("declared", [True, False], ids=["content-length", "chunked"])
def test_a_body_of_100_mb(client, declared):
    block = b" " * 2**20

    def body():
        for _ in range(100):
            yield block

    headers = {"content-type": "application/json"} | (
        {"content-length": str(100 * 2**20)} if declared else {}
    )
    check_problem(client.post("/embed", content=body(), headers=headers), 413, None)
    assert client.get("/healthz").status_code == 200
