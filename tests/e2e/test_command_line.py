"""`solomon` against a running server: output and exit codes."""

import json
import subprocess

import pytest

from service.settings import default_checkpoint
from tests.e2e.inputs import QUERIES
from tests.e2e.server_process import clean_environment, free_port, solomon_command


@pytest.fixture
def solomon(server):
    """Runs a command against the server; returns the finished process."""

    def run(*arguments, url=server.url):
        environment = clean_environment(SOLOMON_URL=url, NO_COLOR="1", COLUMNS="200")
        command = [*solomon_command(), *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)

    return run


def output(process):
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_embed(solomon):
    answer = output(solomon("embed", "a red car", "--route", "embed", "--json"))
    assert len(answer["data"][0]["embedding"]) == answer["dimensions"]
    assert answer["data"][0]["route"] == "embed"
    shown = solomon("embed", "what is it?", "--image", QUERIES / "dog.png", "--route", "embed")
    assert shown.returncode == 0
    assert "confidence" in shown.stdout


def test_search(solomon):
    call = ("search", "a capital", "--filter", '{"kind": "country"}', "-k", "3", "--route", "embed")
    answer = output(solomon(*call, "--json"))
    assert len(answer["results"]) == 3
    assert {hit["metadata"]["kind"] for hit in answer["results"]} == {"country"}
    shown = solomon(*call)
    assert shown.returncode == 0
    assert answer["results"][0]["id"] in shown.stdout


def test_index_add_list_and_drop(solomon, tmp_path):
    rows = [{"id": "one", "text": "first"}, {"id": "two", "image": "dog.png", "metadata": {"kind": "pet"}}]
    (tmp_path / "dog.png").write_bytes((QUERIES / "dog.png").read_bytes())
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    added = output(solomon("index", "add", corpus, "-c", "by-hand", "--json"))
    assert (added["added"], added["failures"]) == (2, [])
    listed = output(solomon("index", "list", "--json"))
    assert {"by-hand": 2}.items() <= {
        entry["name"]: entry["count"] for entry in listed["collections"]
    }.items()
    assert solomon("index", "drop", "by-hand", "--yes").returncode == 0
    assert solomon("index", "drop", "by-hand", "--yes").returncode == 1


def test_one_bad_line_is_named_and_the_rest_is_added(solomon, tmp_path):
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"id": "good", "text": "fine"}\nnot json\n{"id": "bad"}\n', "utf-8")
    try:
        process = solomon("index", "add", corpus, "-c", "half", "--failures", tmp_path / "bad.jsonl")
        assert process.returncode == 1
        assert "corpus.jsonl:2" in process.stderr
        assert "corpus.jsonl:3" in process.stderr
        assert output(solomon("search", "fine", "-c", "half", "--json"))["results"][0]["id"] == "good"
    finally:
        solomon("index", "drop", "half", "--yes")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("search", "x", "-c", "nowhere"), 1),
        (("embed",), 2),
        (("embed", "x", "--route", "sometimes"), 2),
        (("search", "x", "--filter", "{"), 2),
        (("index", "add", "no-such-file.jsonl"), 2),
        (("no-such-command",), 2),
    ],
)
def test_failures_have_exit_codes_and_messages(solomon, arguments, code):
    process = solomon(*arguments)
    assert process.returncode == code, process.stderr
    assert process.stderr.strip()
    assert "Traceback" not in process.stderr


def test_no_server_is_exit_code_3(solomon):
    process = solomon("search", "x", url=f"http://127.0.0.1:{free_port()}")
    assert process.returncode == 3
    assert "solomon serve" in process.stderr


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("serve",),
        ("embed",),
        ("search",),
        ("metrics",),
        ("ready",),
        ("index",),
        ("index", "add"),
        ("index", "create"),
        ("index", "list"),
        ("index", "drop"),
        ("checkpoint",),
        ("checkpoint", "show"),
        ("checkpoint", "verify"),
        ("checkpoint", "base"),
        ("data",),
        ("evaluate",),
        ("train",),
    ],
    ids=" ".join,
)
def test_every_command_explains_itself(solomon, command):
    process = solomon(*command, "--help")
    assert process.returncode == 0, process.stderr
    assert "Usage" in process.stdout


def test_the_shipped_checkpoint_is_shown_and_verified(solomon, trained):
    manifest = output(solomon("checkpoint", "show", "--json"))
    assert manifest["name"] == default_checkpoint().name
    assert manifest["scores"]
    assert manifest["training"]
    assert solomon("checkpoint", "verify").returncode == 0


def test_a_damaged_checkpoint_is_found_out(solomon, trained, tmp_path):
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for path in default_checkpoint().iterdir():
        (damaged / path.name).write_bytes(path.read_bytes())
    adapter = damaged / "adapter_model.safetensors"
    content = bytearray(adapter.read_bytes())
    content[-1] ^= 1
    adapter.write_bytes(content)
    process = solomon("checkpoint", "verify", damaged)
    assert process.returncode == 1
    assert "adapter_model.safetensors" in process.stderr


def test_an_empty_folder_is_no_checkpoint(solomon, tmp_path):
    process = solomon("checkpoint", "verify", tmp_path)
    assert process.returncode == 1
    assert "solomon.json" in process.stderr
