"""The OpenAPI document: every example in it is run against a real application."""

import pytest

from service.app import create_app
from service.settings import Settings


def _examples():
    def never(opening):
        raise AssertionError

    document = create_app(Settings(), never).openapi()
    for path, calls in document["paths"].items():
        for method, call in calls.items():
            content = call.get("requestBody", {}).get("content", {}).get("application/json", {})
            for name, example in content.get("examples", {}).items():
                yield pytest.param(method, path, example["value"], id=f"{method} {path} {name}")


@pytest.mark.parametrize(("method", "path", "body"), list(_examples()))
def test_every_example_works(client, method, path, body):
    response = client.request(method, path.replace("{name}", "default"), json=body)
    assert response.status_code in (200, 201), response.text


def test_without_keys_the_document_asks_for_none(client):
    assert "security" not in client.get("/openapi.json").json()


def test_with_keys_the_document_says_how_to_send_one(serve):
    with serve(api_keys="k") as client:
        document = client.get("/openapi.json", headers={"X-API-Key": "k"}).json()
    [scheme] = document["components"]["securitySchemes"].values()
    assert scheme == {"type": "http", "scheme": "bearer"}
    assert document["security"]
    assert document["paths"]["/healthz"]["get"]["security"] == []
    assert document["paths"]["/problems/{slug}"]["get"]["security"] == []
    assert "security" not in document["paths"]["/embed"]["post"]


def test_every_call_with_a_body_has_an_example_and_every_call_a_summary(client):
    document = client.get("/openapi.json").json()
    for path, calls in document["paths"].items():
        for method, call in calls.items():
            assert call["summary"], (method, path)
            content = call.get("requestBody", {}).get("content", {})
            if "application/json" in content:
                assert content["application/json"]["examples"], (method, path)
            for status, response in call["responses"].items():
                if status[0] in "45" and not path.startswith("/v1") and "ProblemBody" in str(response):
                    assert list(response["content"]) == ["application/problem+json"], (path, status)
