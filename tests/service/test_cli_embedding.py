"""`solomon embed` and `search` with all that the API takes, against a real server on a real socket."""

import json

import numpy as np
import pytest

import service.startup
from model.engine import Engine, EngineSettings
from service.app import create_app
from tests.service.commands import run
from tests.service.images import data_uri, encoded
from tests.service.test_openai import listening

LONG = "too long " * 300


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def url(make_settings, open_backend):
    settings = make_settings(max_items=2)
    with listening(create_app(settings, open_backend(settings))) as url:
        yield url


@pytest.fixture
def offline(loaded_model, monkeypatch):
    """The tiny model, wherever a command loads one."""

    def open_engine(settings):
        return Engine(loaded_model, EngineSettings(threads=1, dtype="float32"))

    monkeypatch.setattr(service.startup, "open_engine", open_engine)


def vectors(answer):
    return np.array([entry["embedding"] for entry in answer["data"]])


def test_more_items_than_a_call_takes_come_back_as_one_answer(url):
    texts = [f"text {number}" for number in range(5)]
    answer = json.loads(run("embed", *texts, "--route", "embed", "--json", "--url", url).stdout)
    assert [entry["index"] for entry in answer["data"]] == [0, 1, 2, 3, 4]
    single = [
        json.loads(run("embed", text, "--route", "embed", "--json", "--url", url).stdout) for text in texts
    ]
    np.testing.assert_allclose(vectors(answer), np.concatenate([*map(vectors, single)]), atol=1e-4)
    assert answer["usage"]["prompt_tokens"] == sum(each["usage"]["prompt_tokens"] for each in single)
    assert answer["latency_ms"] > 0
    assert answer.keys() == single[0].keys()
    table = run("embed", *texts, "--route", "embed", "--url", url).stdout
    assert "text 5" in table
    assert "of 64" in table


def test_items_come_from_standard_input(url, tmp_path):
    (tmp_path / "a.png").write_bytes(encoded())
    options = ("--input-type", "document", "--json", "--url", url)
    lines = json.loads(run("embed", "-", *options, given="one\n\ntwo\n").stdout)
    rows = ['"one"', '{"text": "two"}', '{"text": "two", "image": "a.png"}']
    rows.append(json.dumps({"text": "two", "image": data_uri(encoded())}))
    items = json.loads(run("embed", "--jsonl", *options, given="\n".join(rows)).stdout)
    assert (len(lines["data"]), len(items["data"])) == (2, 4)
    np.testing.assert_allclose(vectors(items)[:2], vectors(lines), atol=1e-4)
    np.testing.assert_allclose(vectors(items)[3], vectors(items)[2], atol=1e-4)
    assert not np.allclose(vectors(items)[2], vectors(items)[1], atol=1e-3)


def test_the_item_that_is_refused_is_named_as_it_was_given(url):
    refused = run("embed", "one", "two", LONG, "four", "--url", url, code=2)
    assert "text 3, text: " in refused.output
    assert "input[" not in refused.output
    by_line = run("embed", "-", "--url", url, code=2, given=f"one\n\n{LONG}\n")
    assert "line 3, text: " in by_line.output
    assert "text: " in run("embed", LONG, "--url", url, code=2).output


def test_the_answers_options_reach_the_server(url):
    short = json.loads(run("embed", "a", "b", "--dimensions", 8, "--json", "--url", url).stdout)
    assert short["dimensions"] == 8
    np.testing.assert_allclose(np.linalg.norm(vectors(short), axis=1), 1, atol=1e-5)
    assert "dimensions" in run("embed", "a", "--dimensions", 65, "--url", url, code=2).output
    run("embed", LONG, "--truncate", "--route", "embed", "--url", url)
    options = ("--route", "augment", "--max-augment-tokens", 2, "--json", "--url", url)
    assert json.loads(run("embed", "why?", *options).stdout)["usage"]["augment_tokens"] <= 2
    assert (
        "max_augment_tokens"
        in run("search", "why?", "--max-augment-tokens", 10**6, "--url", url, code=2).output
    )
    run("search", "why?", *options)


def test_an_images_address_is_left_to_the_server(url):
    for command in ("embed", "search"):
        refused = run(command, "--image", "https://example.org/a.png", "--url", url, code=2)
        assert "image" in refused.output
        assert "no file" not in refused.output


def test_search_by_a_vector(url, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"id": "one", "text": "one"}\n{"id": "two", "text": "two"}\n')
    run("index", "add", "rows.jsonl", "--url", url)
    made = run("embed", "one", "--input-type", "document", "--json", "--url", url).stdout
    vector = json.loads(made)["data"][0]["embedding"]
    (tmp_path / "v.json").write_text(json.dumps(vector))
    np.save("v.npy", np.array(vector, np.float32))
    for name in ("v.json", "v.npy"):
        found = json.loads(run("search", "--vector", name, "-k", 1, "--json", "--url", url).stdout)
        assert found["results"][0]["id"] == "one"
        assert found["route"] is None
    shown = run("search", "--vector", "v.npy", "--url", url).stdout
    assert "index" in shown
    assert "route" not in shown
    assert "route" in run("search", "--vector", "v.npy", "--route", "augment", "--url", url, code=2).output
    (tmp_path / "short.json").write_text("[1, 0]")
    assert "64" in run("search", "--vector", "short.json", "--url", url, code=2).output


def test_offline_is_the_same_without_a_server(url, offline, tmp_path):
    (tmp_path / "a.png").write_bytes(encoded())
    options = ("--route", "embed", "--dimensions", 8, "--json")
    rows = '"one"\n{"text": "two", "image": "a.png"}\n'
    here = json.loads(run("embed", "--jsonl", "--offline", *options, given=rows).stdout)
    there = json.loads(run("embed", "--jsonl", *options, "--url", url, given=rows).stdout)
    np.testing.assert_allclose(vectors(here), vectors(there), atol=1e-4)
    assert (here["model"], here["dimensions"]) == (there["model"], 8)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("one", LONG), "text 2, text: "),
        ((LONG,), "text: "),
        (("one", "--dimensions", 65), "dimensions: "),
        (("one", "--input-type", "document", "--route", "augment"), "Documents are never augmented"),
        (("--image", "https://host/a.png"), "--offline fetches none"),
    ],
    ids=["second", "only", "dimensions", "route", "address"],
)
def test_offline_names_what_it_refuses(offline, arguments, words):
    assert words in run("embed", *arguments, "--offline", code=2).output
