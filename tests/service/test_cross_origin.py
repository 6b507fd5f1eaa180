"""Web pages of other origins: closed by default, opened by a setting, and never let in by a plain form."""

import pytest
from pydantic import ValidationError

from service.settings import Settings
from tests.service.problems import problem

SHOP = "https://shop.example"
PREFLIGHT = {
    "Origin": SHOP,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type",
}
CLOSED = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


def test_by_default_no_page_may_read_an_answer(client):
    answers = [
        client.get("/info", headers={"Origin": SHOP}),
        client.get("/nowhere", headers={"Origin": SHOP}),
        client.options("/embed", headers=PREFLIGHT),
        client.post("/embed", content=b"{", headers={"Content-Type": "application/json"}),
    ]
    for answer in answers:
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert CLOSED.items() <= dict(answer.headers).items()
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        assert "server" not in answer.headers


def test_named_origins_may_call_and_read(serve):
    with serve(cors_origins=SHOP, api_keys="k") as client:
        asked = client.options("/embed", headers=PREFLIGHT)
        assert asked.status_code == 200
        assert asked.headers["access-control-allow-origin"] == SHOP
        answer = client.get("/info", headers={"Origin": SHOP, "Authorization": "Bearer k"})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, SHOP)
        assert "access-control-allow-credentials" not in answer.headers
        # Refusals too, or the page could not tell why.
        refused = client.get("/info", headers={"Origin": SHOP})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, SHOP)
        stranger = client.options("/embed", headers={**PREFLIGHT, "Origin": "https://evil.example"})
        assert stranger.status_code == 400
        assert "access-control-allow-origin" not in stranger.headers


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:9999", "http://["])
def test_without_keys_a_foreign_page_changes_nothing(client, origin):
    headers = {"Origin": origin}
    for method, path in [
        ("POST", "/collections/default/verify?repair=true"),
        ("POST", "/collections/default/rebuild"),
        ("PUT", "/collections/more"),
        ("DELETE", "/collections/default"),
        ("POST", "/embed"),
    ]:
        problem(client.request(method, path, headers=headers), 403, "foreign-origin")
    assert len(client.get("/collections").json()["collections"]) == 1


def test_what_the_browser_says_of_the_site_counts_more_than_names(client):
    for site in ("cross-site", "same-site"):
        for headers in ({}, {"Origin": "http://localhost"}):
            call = client.put("/collections/c", headers={"Sec-Fetch-Site": site, **headers})
            problem(call, 403, "foreign-origin")
    # A proxy may have changed the name under which the page knows the server.
    headers = {"Sec-Fetch-Site": "same-origin", "Origin": "https://public.example"}
    assert client.put("/collections/c", headers=headers).status_code == 201


def test_the_servers_own_page_and_named_ones_may(serve):
    with serve(cors_origins="https://shop.example") as client:
        for origin in ("http://localhost", "HTTP://LOCALHOST", SHOP):
            assert client.put("/collections/c", headers={"Origin": origin}).status_code in (200, 201)
    with serve(api_keys="k") as client:  # no page can make a browser send the key
        headers = {"Origin": "https://evil.example", "X-API-Key": "k"}
        assert client.put("/collections/c", headers=headers).status_code in (200, 201)


@pytest.mark.parametrize("origins", ["*", "shop.example", "https://shop.example/path", "https://*.example"])
def test_origins_that_open_too_much_or_nothing_are_refused(origins):
    with pytest.raises(ValidationError):
        Settings(cors_origins=origins)


def test_every_page_may_be_let_in_where_keys_guard():
    assert Settings(cors_origins="*", api_keys="k").cors_origins == ("*",)
