"""Commands for who runs a server: whether it is ready, what it counts, and which keys they need."""

import json

import httpx
import pytest

from service.app import create_app
from service.cli import app
from tests.service.commands import run, runner
from tests.service.test_openai import listening


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def url(make_settings, open_backend):
    settings = make_settings()
    with listening(create_app(settings, open_backend(settings))) as url:
        yield url


def test_ready_is_0_or_1(url):
    assert "is ready" in run("ready", "--url", url).stdout
    assert json.loads(run("ready", "--live", "--json", "--url", url).stdout)["state"] == "ok"
    for elsewhere in ("http://127.0.0.1:9", f"{url}/page/base.css?"):
        assert run("ready", "--url", elsewhere, code=1).output
        assert json.loads(run("ready", "--json", "--url", elsewhere, code=1).stdout)["reason"]


def test_ready_says_what_to_do_where_nothing_answers():
    assert "solomon serve" in run("ready", "--url", "http://127.0.0.1:9", code=1).output


def test_adding_nothing_is_a_failure(url, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "nothing to add in" in run("index", "add", "empty", "--url", url, code=1).output


def test_a_key_s_name_is_refused_by_itself():
    assert "a name takes" in run("key", "new", "--scopes", "embed", "--name", "a b", code=2).output


def test_ready_says_why_a_server_is_not(make_settings, open_backend):
    settings = make_settings()
    application = create_app(settings, open_backend(settings))
    with listening(application) as url:
        application.state.runtime.begin_draining()
        assert "stopping" in run("ready", "--url", url, code=1).output
        assert "alive" in run("ready", "--live", "--url", url).stdout


def test_metrics_are_printed_whole_or_by_their_beginning(url):
    whole = run("metrics", "--url", url).stdout
    assert "# TYPE solomon_" in whole
    part = run("metrics", "solomon_rejected", "--url", url).stdout
    assert set(part.splitlines()) < set(whole.splitlines())
    assert "solomon_rejected" in part
    assert "No metric" in run("metrics", "nothing_such", "--url", url, code=1).output
    assert "not Solomon" in run("metrics", "--url", f"{url}/page/base.css?", code=1).output


def test_a_key_is_asked_only_for_what_a_command_cannot_do_without(make_settings, open_backend, monkeypatch):
    keys = {
        scope: json.loads(run("key", "new", "--scopes", scope, "--json").stdout)
        for scope in ("embed", "admin", "write")
    }
    settings = make_settings(api_keys=", ".join(key["line"] for key in keys.values()))
    with listening(create_app(settings, open_backend(settings))) as url:
        monkeypatch.setenv("SOLOMON_API_KEY", keys["embed"]["key"])
        assert "not told to this key" in run("info", "--url", url).stdout
        assert json.loads(run("info", "--json", "--url", url).stdout)["collections"] is None
        run("index", "list", "--url", url, code=4)
        monkeypatch.setenv("SOLOMON_API_KEY", keys["write"]["key"])
        run("index", "create", "new", "--url", url)
        monkeypatch.setenv("SOLOMON_API_KEY", keys["admin"]["key"])
        run("index", "backup", "new", "new.backup", "--url", url)
        assert "exists" in run("index", "restore", "new.backup", "--url", url, code=1).output
        asked = runner.invoke(app, ["index", "drop", "new", "--url", url], input="y\n")
        assert asked.exit_code == 0, asked.output
        assert "Remove new and its documents" in asked.output
        run("index", "restore", "new.backup", "--url", url)
        dropped = json.loads(run("index", "drop", "new", "--yes", "--json", "--url", url).stdout)
        assert dropped == {"removed": "new", "documents": None}


@pytest.mark.parametrize(
    "arguments",
    [
        ("remove", "..", "-c", "notes"),
        ("remove", "a", "..", "-c", "notes"),
        ("get", "..", "-c", "notes"),
        ("drop", "notes/documents/a", "--yes"),
        ("show", "notes/documents/a"),
        ("create", "../info"),
        ("create", ""),
        ("verify", "bad name"),
        ("rebuild", "bad name"),
    ],
)
def test_what_is_no_name_ends_the_command_before_any_call(url, arguments):
    """`index remove ..` dropped the collection."""
    with httpx.Client(base_url=url) as client:
        client.put("/collections/notes").raise_for_status()
        body = {"documents": [{"id": "a", "text": "a"}]}
        client.post("/collections/notes/documents", json=body).raise_for_status()
        refused = run("index", *arguments, "--url", url, code=2)
        assert "is no " in refused.output
        assert client.get("/collections/notes").json()["count"] == 1
