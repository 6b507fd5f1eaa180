"""What surrounds every call: readiness, keys, ids, limits, headers, unknown routes, unexpected failures."""

import errno
import json
import logging
import re
import threading
from pathlib import Path

import pytest
import structlog
from starlette.testclient import TestClient

import service.page
from index.collection import LOG_FILE
from index.log_names import logged_error, logged_name, show_names
from index.types import StorageError
from model.kernels.library import instruction_set
from service.app import create_app
from service.startup import BackendOpener
from tests.service.conftest import LOCAL, wait_until_ready
from tests.service.problems import problem

PAGE_SUFFIXES = (".html", ".js", ".css", ".svg")


def test_health_is_answered_while_the_backend_opens(make_settings, open_backend):
    settings = make_settings()
    release = threading.Event()
    inner = open_backend(settings)

    def slow(opening):
        opening.describe("loading the model")
        release.wait(60)
        return inner(opening)

    with TestClient(create_app(settings, slow), LOCAL) as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/metrics").status_code == 200
        for response in (
            client.get("/readyz"),
            client.post("/embed", json={"input": "x"}),
            client.get("/info"),
        ):
            problem(response, 503, "not-ready")
            assert response.headers["retry-after"]
        refused = 'solomon_rejected_total{reason="not-ready"} 2.0'  # a probe has its answer, and is none
        assert refused in client.get("/metrics").text
        release.set()
        wait_until_ready(client)
        assert client.post("/embed", json={"input": "x"}).status_code == 200


def test_a_backend_that_cannot_open_is_told_and_stops_the_server(make_settings):
    stopped = threading.Event()

    def broken(opening):
        raise RuntimeError("secret detail")

    with TestClient(create_app(make_settings(), broken, on_failure=stopped.set), LOCAL) as client:
        assert stopped.wait(30)
        body = problem(client.get("/healthz"), 503, "not-ready")
        assert "secret" not in json.dumps(body)


def test_a_missing_checkpoint_fails_with_what_to_do_and_releases_the_data(make_settings, tmp_path):
    settings = make_settings(checkpoint=tmp_path / "nowhere")
    app = create_app(settings, BackendOpener(settings))
    with TestClient(app):
        pass
    assert "nowhere" in str(app.state.runtime.failure)


def test_a_dead_engine_fails_health(client):
    client.app.state.runtime.services.backend.embedder.close()
    problem(client.get("/healthz"), 503, "not-ready")
    problem(client.get("/readyz"), 503, "not-ready")
    problem(client.post("/embed", json={"input": "x"}), 503, "not-ready")


def test_keys_guard_everything_but_health_the_page_and_the_docs(serve):
    with serve(api_keys="first-key, second-key") as client:
        # The readiness wait itself went without a key; the page has to be there to ask for one.
        assert client.get("/").status_code == client.get("/page/main.js").status_code == 200
        assert client.get("/healthz").status_code == 200
        # What the calls are, which a browser cannot ask for with a key; and what a refusal points at.
        for path in ("/docs", "/docs/docs.js", "/openapi.json", "/problems/unauthenticated"):
            assert client.get(path).status_code == 200
        for method, path in [
            ("GET", "/metrics"),
            ("GET", "/info"),
            ("GET", "/collections"),
            ("POST", "/embed"),
            ("POST", "/search"),
            ("GET", "/nowhere"),
        ]:
            response = client.request(method, path)
            problem(response, 401, "unauthenticated")
            assert response.headers["www-authenticate"] == "Bearer"
        for headers in (
            {"Authorization": "Bearer first-key"},
            {"Authorization": "bearer second-key"},
            {"X-API-Key": "second-key"},
        ):
            assert client.get("/info", headers=headers).status_code == 200
        for headers in (
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Basic first-key"},
            {"X-API-Key": ""},
            {"X-API-Key": "first-key, second-key"},
        ):
            problem(client.get("/info", headers=headers), 401, "unauthenticated")
        refused = client.get("/v1/models")
        assert (refused.status_code, refused.json()["error"]["type"]) == (401, "authentication_error")


STRANGERS = ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "[", ""]


@pytest.mark.parametrize("host", STRANGERS)
def test_without_keys_a_foreign_name_is_not_answered(client, host):
    headers = {"Host": host}
    problem(client.get("/collections", headers=headers), 403, "foreign-host")
    assert client.get("/healthz", headers=headers).status_code == 200


def test_the_docs_are_for_this_machines_names_too(client):
    for path in ("/docs", "/openapi.json", "/"):
        problem(client.get(path, headers={"Host": "evil.example"}), 403, "foreign-host")


def test_an_address_with_a_slash_too_many_is_told_and_not_redirected(client):
    problem(client.get("/collections/", follow_redirects=False), 404, "not-found")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "127.0.0.1:9", "[::1]:8080", "localhost."])
def test_this_machines_names_are_answered(client, host):
    assert client.get("/info", headers={"Host": host}).status_code == 200


def test_other_names_can_be_allowed(serve):
    with serve(allowed_hosts="solomon.example, other.example") as client:
        assert client.get("/info", headers={"Host": "Solomon.example:443"}).status_code == 200
        assert client.get("/info").status_code == 200
        problem(client.get("/info", headers={"Host": "evil.example"}), 403, "foreign-host")
    with serve(api_keys="k") as client:
        assert client.get("/info", headers={"Host": "any.example", "X-API-Key": "k"}).status_code == 200


@pytest.mark.parametrize("host", STRANGERS)
def test_a_strange_host_header_cannot_break_an_error(serve, host):
    with serve(api_keys="k") as client:
        headers = {"Host": host, "X-API-Key": "k"}
        problem(client.get("/nowhere", headers=headers), 404, "not-found")


def test_request_ids_are_echoed_or_made(client):
    assert (
        client.get("/healthz", headers={"X-Request-ID": "abc-1.2_3"}).headers["x-request-id"] == "abc-1.2_3"
    )
    for bad in ("a" * 65, "sp ace", "new%0aline;"):
        made = client.get("/healthz", headers={"X-Request-ID": bad}).headers["x-request-id"]
        assert made != bad
        assert len(made) == 32


def test_the_log_names_route_and_counts_but_no_content(client):
    with structlog.testing.capture_logs() as lines:
        client.put("/collections/private-name")
        client.post("/embed", json={"input": ["private words", "two"], "route": "embed"})
    calls = [line for line in lines if line["event"] == "call"]
    assert [line["path"] for line in calls] == ["/collections/{name}", "/embed"]
    assert (calls[1]["status"], calls[1]["items"], calls[1]["route"]) == (200, 2, "embed")
    assert "private" not in json.dumps(lines)


def test_a_refused_call_is_logged_with_its_template_its_problem_and_where_it_came_from(serve):
    with structlog.testing.capture_logs() as lines, serve(api_keys="a-key") as client:
        client.get("/collections/private-name/documents/private-id")
        client.post("/embed", json={"input": 3}, headers={"X-API-Key": "a-key"})
        scraped = client.get("/metrics", headers={"X-API-Key": "a-key"}).text
    calls = [line for line in lines if line["event"] == "call" and line["path"] != "/readyz"]
    refused = [line for line in calls if "problem" in line]
    assert [(line["path"], line["problem"]) for line in refused] == [
        ("/collections/{name}/documents/{id:path}", "unauthenticated"),
        ("/embed", "invalid-input"),
    ]
    assert all(line["client"] == "testclient" for line in refused)
    assert 'path="/collections/{name}/documents/{id:path}",status="401"' in scraped
    assert "private" not in json.dumps(lines, default=str)


@pytest.fixture
def _no_names():
    show_names(False)  # as `solomon serve` does
    yield
    show_names(True)


@pytest.mark.parametrize("int8_steps", [False, True])
def test_the_log_and_the_build_say_what_the_engine_decodes_with(serve, int8_steps):
    if int8_steps and instruction_set() is None:
        pytest.skip("the kernels are not compiled here")
    with structlog.testing.capture_logs() as lines, serve(engine={"int8_steps": int8_steps}) as client:
        metrics = client.get("/metrics").text
    (ready,) = (line for line in lines if line["event"] == "ready")
    assert ready["decoding"] == (f"{instruction_set()} int8" if int8_steps else "torch")
    assert f'decoding="{ready["decoding"]}"' in metrics


@pytest.mark.usefixtures("_no_names")
def test_no_line_has_a_name_or_an_id_whatever_becomes_of_the_collections(serve, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    documents = [{"id": f"private-id-{n}", "text": f"private {n}"} for n in range(40)]
    with structlog.testing.capture_logs() as lines:
        with serve() as client:
            for name in ("private-mended", "private-gone", "private-late"):
                client.put(f"/collections/{name}")
                added = client.post(f"/collections/{name}/documents", json={"documents": documents})
                assert added.status_code == 201
        folder = tmp_path / "data" / "collections"
        with (folder / "private-mended" / LOG_FILE).open("r+b") as log:
            log.seek(log.seek(0, 2) // 2)
            log.write(b"\xff" * 8192)
        (folder / "private-gone" / LOG_FILE).unlink()
        with serve() as client:
            problem(
                client.get("/collections/private-gone/documents/private-id-0"), 500, "unusable-collection"
            )
            for name in ("private-mended", "private-late"):
                for document in documents:
                    client.get(f"/collections/{name}/documents/{document['id']}")
                client.post("/search", json={"query": "private words", "collection": name})
            client.post("/collections/private-late/rebuild")
            client.get("/collections/private-late/rebuild")
    assert len([line for line in lines if line["event"] == "call"]) > 80
    theirs = [record for record in caplog.records if not record.name.startswith("httpx")]  # the test's own
    written = "".join(record.getMessage() for record in theirs) + json.dumps(lines, default=str)
    assert "documents recovered" in written
    assert "cannot be served" in written
    assert logged_name("private-gone") in written
    assert "private" not in written


def test_with_content_names_are_logged_as_they_are():
    assert logged_name("things") == "things"
    assert logged_error(ValueError("a message")) == "a message"


@pytest.mark.usefixtures("_no_names")
def test_of_an_error_its_kind_and_what_caused_it_are_logged():
    error = StorageError("Milvus refused the call: private filter")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device", "/data/private")
    assert logged_error(error) == "StorageError by OSError (No space left on device)"


def test_a_declared_body_over_the_limit_is_refused_unread(serve):
    with serve(max_body_bytes=10_000) as client:
        body = json.dumps({"input": "x" * 20_000}).encode()
        headers = {"content-type": "application/json"}
        problem(client.post("/embed", content=body, headers=headers), 413, "body-too-large")


def test_a_streamed_body_over_the_limit_is_cut_off(serve):
    sent = 0

    def hundred_megabytes():
        nonlocal sent
        yield b'{"input": "'
        for _ in range(1600):
            sent += 65536
            yield b"x" * 65536

    with serve(max_body_bytes=1_000_000) as client:
        headers = {"content-type": "application/json"}
        response = client.post("/embed", content=hundred_megabytes(), headers=headers)
        problem(response, 413, "body-too-large")
        assert client.get("/readyz").status_code == 200


def test_unknown_routes_and_methods_are_problems(client):
    problem(client.get("/nowhere"), 404, "not-found")
    response = client.get("/embed")
    assert "POST" in problem(response, 405, "method-not-allowed")["detail"]
    assert response.headers["allow"] == "POST"
    body = client.get("/v1/nowhere").json()
    assert body["error"]["code"] == "not_found"


def test_problem_types_lead_somewhere(client):
    kind = client.post("/search", json={"query": "x", "k": 0}).json()["type"]
    assert client.get(kind).json() == {"type": kind, "title": "The input is not valid", "status": 422}
    problem(client.get("/problems/nothing"), 404, "not-found")


def test_an_unexpected_failure_tells_nothing_of_the_inside(client, monkeypatch):
    store = client.app.state.runtime.services.backend.store

    def broken():
        raise ZeroDivisionError("inner secret")

    monkeypatch.setattr(store, "list", broken)
    response = client.get("/collections")
    body = problem(response, 500, "internal")
    assert "secret" not in json.dumps(body)
    monkeypatch.undo()
    assert 'solomon_rejected_total{reason="internal"} 1.0' in client.get("/metrics").text
    assert response.headers["x-request-id"]
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/docs", "/page/main.js", "/page/base.css", "/docs/docs.js"])
def test_pages_load_only_from_here(client, path):
    response = client.get(path)
    assert response.status_code == 200
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'self'")
    assert "//" not in response.text.replace("// ", "")


@pytest.mark.parametrize("prefix", ["/page/", "/docs/assets/", "/collections/", "/v1/models/", "/problems/"])
@pytest.mark.parametrize(
    "climb",
    ["../../pyproject.toml", "..%2f..%2fsettings.py", "%2e%2e/%2e%2e/app.py", "%2fetc%2fpasswd", "a%00b"],
)
def test_no_address_reaches_a_file(client, prefix, climb):
    response = client.get(f"{prefix}{climb}")
    assert response.status_code in (404, 422), response.text
    assert "root:" not in response.text
    assert "from __future__" not in response.text


def test_of_the_pages_folder_only_its_files_are_served(client):
    for name in ("__init__.py", "__pycache__/__init__.cpython-311.pyc", "", "index.html", "../app.py"):
        problem(client.get(f"/page/{name}"), 404, "not-found")
    assert client.get("/page/mark.svg").headers["content-type"] == "image/svg+xml"


def test_the_page_names_no_other_host():
    texts = [
        file.read_text("utf-8")
        for file in Path(service.page.__path__[0]).iterdir()
        if file.suffix in PAGE_SUFFIXES
    ]
    assert len(texts) > 20
    named = {address for text in texts for address in re.findall(r"https?://[^\s\"'>]+", text)}
    assert named == {"http://www.w3.org/2000/svg"}  # a namespace, which nobody fetches


def test_browsers_ask_whether_the_page_is_current(client):
    for path in ("/", "/page/main.js"):
        assert client.get(path).headers["cache-control"] == "no-cache"


def test_docs_have_their_assets(client):
    for name in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"):
        assert client.get(f"/docs/assets/{name}").status_code == 200
        assert f"/docs/assets/{name}" in client.get("/docs").text


def test_info(client):
    body = client.get("/info").json()
    assert body["model"]["name"] == "tiny"
    assert body["dimensions"] == 64
    assert 0 <= body["augment_threshold"] <= 1
    assert body["limits"]["max_items"] == 256
    assert body["limits"]["max_prompt_tokens"] == 160
    assert body["default_augment_tokens"] < body["limits"]["max_augment_tokens"]
    longest = {"input": "x", "route": "augment", "max_augment_tokens": body["limits"]["max_augment_tokens"]}
    assert client.post("/embed", json=longest).status_code == 200
    longer = {**longest, "max_augment_tokens": body["limits"]["max_augment_tokens"] + 1}
    problem(client.post("/embed", json=longer), 422, "invalid-input")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/info"])
def test_what_is_watched_answers_head_as_get_without_a_body(client, path):
    asked = client.head(path)
    assert (asked.status_code, asked.content) == (200, b"")
    assert asked.headers["content-type"] == client.get(path).headers["content-type"]
