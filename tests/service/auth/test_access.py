"""Who may call what, on a real application."""

import pytest
from fastapi import APIRouter

import service.app
from service.app import create_app
from service.auth.keys import new_key
from service.auth.scopes import ACCESS, Door, RouteAccess, Scope, route_names
from service.settings import Settings
from tests.service.problems import problem

EXAMPLE = {"name": "default", "id:path": "some-id", "model:path": "tiny", "slug": "not-found"}


def never(opening):
    raise AssertionError


def address(template):
    for name, value in EXAMPLE.items():
        template = template.replace(f"{{{name}}}", value)
    return template


def test_the_table_lists_every_route_and_no_other():
    assert set(route_names(create_app(Settings(), never).routes)) == set(ACCESS)


def test_an_application_with_a_route_outside_the_table_cannot_be_made(monkeypatch):
    router = APIRouter()
    router.add_api_route("/secret-door", lambda: None, methods=["POST"])
    monkeypatch.setattr(service.app.page, "router", router)
    with pytest.raises(RuntimeError, match="POST /secret-door"):
        create_app(Settings(), never)


def test_each_call_finds_its_own_entry():
    access = RouteAccess(create_app(Settings(), never).routes)
    for call, needed in ACCESS.items():
        method, _, template = call.partition(" ")
        path = address(template) + ("/file.js" if method == "MOUNT" else "")
        assert access.of({"method": "GET" if method == "MOUNT" else method, "path": path}) is needed, call
    assert access.of({"method": "HEAD", "path": "/metrics"}) is Scope.METRICS
    assert access.of({"method": "GET", "path": "/nowhere"}) is Door.ANY_KEY


@pytest.fixture(scope="module")
def keys():
    """A key and its line for each scope."""
    return {scope: new_key([scope], None, scope.value) for scope in Scope}


@pytest.fixture
def guarded(serve, keys, tmp_path):
    file = tmp_path / "keys"
    file.write_text("\n".join(line for _, line in keys.values()))
    with serve(api_keys_file=file) as client:
        yield client


def test_a_key_opens_the_calls_of_its_scope_and_no_others(guarded, keys):
    for call, needed in ACCESS.items():
        method, _, template = call.partition(" ")
        if method == "MOUNT":
            continue
        for scope, (key, _) in keys.items():
            # A body that is not JSON: what passes the door is refused behind it, and nothing is changed.
            response = guarded.request(method, address(template), headers={"X-API-Key": key}, content=b"{")
            if isinstance(needed, Scope) and needed is not scope:
                body = problem(response, 403, "missing-scope") if "/v1/" not in call else response.json()
                assert needed.value in str(body), (call, scope)
                challenge = response.headers["www-authenticate"]
                assert challenge == f'Bearer error="insufficient_scope", scope="{needed.value}"'
            else:
                assert response.status_code not in (401, 403), (call, scope)
        if needed not in (Door.OPEN, Door.PAGE):
            assert guarded.request(method, address(template)).status_code == 401, call


def test_another_scopes_write_changes_nothing(guarded, keys):
    search, _ = keys[Scope.SEARCH]
    problem(guarded.put("/collections/new", headers={"X-API-Key": search}), 403, "missing-scope")
    listed = guarded.get("/collections", headers={"X-API-Key": search}).json()["collections"]
    assert [collection["name"] for collection in listed] == ["default"]


def test_a_key_that_calls_too_often_is_told_when_to_come_back(serve, tmp_path):
    (slow, slow_line), (free, free_line) = (
        new_key(list(Scope), "2/hour", "slow"),
        new_key(list(Scope), None, "free"),
    )
    with serve(api_keys=f"{slow_line}, {free_line}") as client:
        assert [client.get("/info", headers={"X-API-Key": slow}).status_code for _ in range(2)] == [200, 200]
        refused = client.get("/info", headers={"X-API-Key": slow})
        problem(refused, 429, "rate-limited")
        assert 1000 < int(refused.headers["retry-after"]) <= 1800
        assert (
            client.get("/v1/models", headers={"X-API-Key": slow}).json()["error"]["type"]
            == "rate_limit_error"
        )
        metrics = client.get("/metrics", headers={"X-API-Key": free}).text
    assert 'solomon_rejected_total{reason="rate-limited"} 2.0' in metrics


def test_refusals_are_counted_by_reason(guarded, keys):
    guarded.get("/info")
    guarded.delete("/collections/default", headers={"X-API-Key": keys[Scope.WRITE][0]})
    metrics = guarded.get("/metrics", headers={"X-API-Key": keys[Scope.METRICS][0]}).text
    assert 'solomon_rejected_total{reason="unauthenticated"} 1.0' in metrics
    assert 'solomon_rejected_total{reason="missing-scope"} 1.0' in metrics
