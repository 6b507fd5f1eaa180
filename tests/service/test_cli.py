"""The command line against a real server on a real socket."""

import json
import os
import re
from pathlib import Path

import pytest

import service.cli.plugins
from model.installing import install_command
from service.app import create_app
from service.cli import app
from tests.service.commands import run, runner
from tests.service.images import encoded
from tests.service.test_openai import listening


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # failures are written to the current folder


@pytest.fixture
def url(make_settings, open_backend):
    settings = make_settings()
    with listening(create_app(settings, open_backend(settings))) as url:
        yield url


@pytest.fixture
def guarded(make_settings, open_backend, tmp_path):
    settings = make_settings(api_keys="k1", data_dir=tmp_path / "guarded")
    with listening(create_app(settings, open_backend(settings))) as url:
        yield url


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["serve"],
        ["embed"],
        ["search"],
        ["info"],
        ["doctor"],
        ["metrics"],
        ["ready"],
        ["index"],
        ["index", "get"],
        ["index", "remove"],
        ["index", "show"],
        ["index", "add"],
        ["index", "copy"],
        ["index", "create"],
        ["index", "list"],
        ["index", "drop"],
        ["index", "rebuild"],
        ["checkpoint"],
        ["checkpoint", "show"],
        ["checkpoint", "verify"],
        ["checkpoint", "base"],
        ["key"],
        ["key", "new"],
    ],
)
def test_every_command_has_help(words):
    assert "Usage" in run(*words, "--help").output


def test_a_new_key_is_shown_once_with_its_line(make_settings, open_backend, tmp_path, monkeypatch):
    options = ("--scopes", "search,embed", "--rate", "600/minute", "--name", "shop")
    made = json.loads(run("key", "new", *options, "--json").stdout)
    assert made["line"].endswith(" scopes=embed+search rate=600/minute name=shop")
    assert made["key"] not in made["line"]
    key, line = run("key", "new", "--scopes", "all").stdout.split("\n")[:2]
    assert key != made["key"]
    file = tmp_path / "keys"
    file.write_text(f"{made['line']}\n{line}\n")
    settings = make_settings(api_keys_file=file)
    with listening(create_app(settings, open_backend(settings))) as url:
        monkeypatch.setenv("SOLOMON_API_KEY", made["key"])
        run("search", "words", "--url", url)
        assert "admin" in run("index", "drop", "default", "--yes", "--url", url, code=4).output
        monkeypatch.setenv("SOLOMON_API_KEY", key)
        run("index", "drop", "default", "--yes", "--url", url)
    for wrong in (("--scopes", "root"), ("--scopes", "all", "--rate", "fast")):
        run("key", "new", *wrong, code=2)


def test_embed_and_search(url, tmp_path):
    answer = json.loads(run("embed", "a question", "--json", "--url", url).stdout)
    assert len(answer["data"][0]["embedding"]) == 64
    picture = tmp_path / "a.png"
    picture.write_bytes(encoded())
    assert "tiny" in run("embed", "--image", picture, "--route", "embed", "--url", url).stdout
    run("index", "add", picture, "--url", url)
    found = json.loads(run("search", "red", "-k", 1, "--json", "--url", url).stdout)
    assert found["results"][0]["id"] == picture.as_posix()
    table = run("search", "--image", picture, "--url", url).stdout
    assert "a.png" in re.sub(r"\s", "", table)


def test_index_add_reports_bad_items_and_keeps_the_good(url, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "good.png").write_bytes(encoded())
    (folder / "bad.jpg").write_text("this is no picture")
    (folder / "notes.txt").write_text("passed over")
    rows = tmp_path / "rows.jsonl"
    lines = [
        '{"id": "one", "text": "first", "metadata": {"n": 1}}',
        "not json",
        '{"id": "two", "image": "photos/good.png"}',
        '{"id": "three"}',
        '{"id": "four", "text": "x", "colour": 1}',
        '{"id": "five", "image": "photos/nowhere.png"}',
        "",
        '{"id": "one", "text": "again"}',
    ]
    rows.write_text("\n".join(lines))
    result = run("index", "add", folder, rows, "-c", "mine", "--json", "--url", url, code=1)
    outcome = json.loads(result.stdout)
    assert (outcome["added"], outcome["unchanged"], outcome["failed"]) == (4, 0, 5)
    failed = {failure["source"].removeprefix(str(tmp_path)) for failure in outcome["failures"]}
    bad_rows = {f"/rows.jsonl:{number}" for number in (2, 4, 6, 8)}
    assert failed == {"/photos/bad.jpg", *bad_rows}
    assert all(failure["reason"] for failure in outcome["failures"])
    written = Path(outcome["failures_file"]).read_text().splitlines()
    assert [json.loads(line) for line in written] == outcome["failures"]
    listed = json.loads(run("index", "list", "--json", "--url", url).stdout)["collections"]
    assert {entry["name"]: entry["count"] for entry in listed} == {"default": 0, "mine": 4}
    assert "mine" in run("index", "list", "--url", url).stdout
    given = ("index", "add", folder / "bad.jpg", "-c", "mine", "--failures", "bad.jsonl", "--url", url)
    text = run(*given, code=1).output
    assert "bad.jpg: image:" in text
    assert "bad.jsonl" in text
    assert len(Path("bad.jsonl").read_text().splitlines()) == 1
    run("index", "drop", "mine", "--yes", "--url", url)


def test_drop_asks_only_for_what_exists(url):
    nowhere = run("index", "drop", "nowhere", "--url", url, code=1)
    assert "No collection" in nowhere.output
    assert "Remove" not in nowhere.output
    refused = runner.invoke(app, ["index", "drop", "default", "--url", url], input="n\n")
    assert refused.exit_code == 1
    assert "default and its 0 documents" in refused.output
    assert "default" in run("index", "list", "--url", url).stdout


def test_single_documents_and_collections(url, tmp_path):
    (tmp_path / "a.png").write_bytes(encoded())
    run("index", "add", "a.png", "--url", url)
    assert json.loads(run("index", "show", "--json", "--url", url).stdout)["count"] == 1
    assert "flat" in run("index", "show", "--url", url).stdout
    document = json.loads(run("index", "get", "a.png", "--image", "b.png", "--json", "--url", url).stdout)
    assert document["id"] == "a.png"
    assert Path("b.png").read_bytes() == encoded()
    run("index", "get", "nothing", "--url", url, code=1)
    removed = json.loads(run("index", "remove", "a.png", "--json", "--url", url).stdout)
    assert removed == {"collection": "default", "removed": ["a.png"]}
    run("index", "remove", "a.png", "--url", url, code=1)
    dropped = json.loads(run("index", "drop", "default", "--yes", "--json", "--url", url).stdout)
    assert dropped == {"removed": "default", "documents": 0}


def test_an_empty_collection_is_made_once(url):
    made = json.loads(run("index", "create", "new", "--json", "--url", url).stdout)
    assert (made["made"], made["count"], made["dimensions"]) == (True, 0, 64)
    assert "new exists, with 0 documents" in run("index", "create", "new", "--url", url).stdout
    assert "new" in run("index", "list", "--url", url).stdout
    run("index", "create", "no such name", "--url", url, code=2)


def test_checkpoint_commands_speak_json(tmp_path):
    verified = json.loads(run("checkpoint", "verify", "--json").stdout)
    assert "adapter_model.safetensors" in verified["files"]


def test_the_shell_can_be_taught_to_complete():
    assert "--install-completion" in run("--help").output
    for shell in ("bash", "zsh", "fish"):
        ask = {"_SOLOMON_COMPLETE": f"source_{shell}"}
        script = runner.invoke(app, [], prog_name="solomon", env=ask).output
        assert "_SOLOMON_COMPLETE" in script


def test_a_filter_that_is_no_json_is_shown_as_json(url):
    assert """--filter '{"kind": "emoji"}'""" in run("search", "x", "--filter", "kind=emoji", code=2).output
    assert "JSON" in run("search", "x", "--filter", "{", code=2).output


def test_search_takes_a_threshold(url, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a text"}')
    run("index", "add", "a.jsonl", "--url", url)
    for threshold, route in ((0.0, "augment"), (1.0, "embed")):
        answer = run("search", "x", "--augment-threshold", threshold, "--json", "--url", url).stdout
        assert json.loads(answer)["route"] == route


def test_files_above_have_absolute_ids(url, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "a.png").write_bytes(encoded())
    monkeypatch.chdir(tmp_path / "here")
    run("index", "add", "../a.png", "--url", url)
    found = json.loads(run("search", "x", "--json", "--url", url).stdout)["results"]
    assert [hit["id"] for hit in found] == [(tmp_path / "a.png").resolve().as_posix()]


def test_what_json_cannot_carry_is_set_aside(url, tmp_path):
    rows = tmp_path / "rows.jsonl"
    lines = [
        b'{"id": "nan", "text": "x", "metadata": {"a": NaN}}',
        b'{"id": "half", "text": "\\ud800"}',
        b'{"id": "nul", "image": "a\\u0000.png"}',
        b'{"id": "good", "text": "x"}',
    ]
    rows.write_bytes(b"\n".join(lines))
    (tmp_path / os.fsdecode(b"broken\xff.png")).write_bytes(encoded())
    result = run("index", "add", rows, tmp_path, "--json", "--url", url, code=1)
    outcome = json.loads(result.stdout)
    assert (outcome["added"], len(outcome["failures"])) == (1, 4)


def test_something_else_than_solomon_is_told(url):
    refused = run("index", "list", "--url", f"{url}/page/base.css?", code=1)
    assert "is not Solomon" in refused.output


def test_more_documents_than_a_batch(url, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(json.dumps({"id": str(n), "text": f"row {n}"}) for n in range(70)))
    assert json.loads(run("index", "add", rows, "--json", "--url", url).stdout)["added"] == 70


def test_exit_codes(url, guarded, tmp_path, monkeypatch):
    run("embed", "--url", url, code=2)
    run("embed", "x", "--route", "maybe", "--url", url, code=2)
    run("search", "x", "--filter", "{", "--url", url, code=2)
    run("search", "x", "-k", 0, "--url", url, code=2)
    run("search", "x", "-c", "nowhere", "--url", url, code=1)
    run("index", "add", tmp_path / "nowhere.png", "--url", url, code=2)
    run("index", "list", "--url", "http://127.0.0.1:9", code=3)
    for no_address in (
        "solomon",
        "localhost:8080",
        "ftp://solomon",
        "http://",
        "http://[::1",
        "http://host:abc",
    ):
        refused = run("index", "list", "--url", no_address, code=2).output
        assert "http://HOST:PORT" in refused
    run("index", "list", "--url", guarded, code=4)
    monkeypatch.setenv("SOLOMON_API_KEY", "k1")
    run("index", "list", "--url", guarded)


def test_serve_refuses_an_open_address_and_a_missing_checkpoint(tmp_path):
    refused = run("serve", "--host", "0.0.0.0", code=2)
    assert "SOLOMON_API_KEYS" in refused.output
    assert "port (SOLOMON_PORT)" in run("serve", "--port", 99999, code=2).output


def test_checkpoint_commands_name_what_is_missing(tmp_path):
    for command in ("show", "verify"):
        assert str(tmp_path.name) in run("checkpoint", command, tmp_path, code=1).output.replace("\n", "")


def test_a_plugin_whose_extra_is_not_installed_says_how_to_install_it(capsys):
    class Entry:
        name = "train"

        def load(self):
            raise ModuleNotFoundError("No module named 'accelerate'", name="accelerate")

    with pytest.raises(service.cli.plugins.typer.Exit) as ended:
        service.cli.plugins.run_plugin(Entry(), [])
    assert ended.value.exit_code == 1
    assert install_command("train") in capsys.readouterr().err
