"""What `embed` and `search` take from arguments, standard input and files, and how they refuse the rest.

Nothing here reaches a server.
"""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from service.cli import app
from service.cli.exits import CommandFailed
from service.cli.inputs import body_of, one_item, read_vector, several_items
from service.client.content import Item
from tests.service.images import data_uri, encoded

runner = CliRunner()


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def refused(*arguments, given=None):
    result = runner.invoke(app, [str(argument) for argument in arguments], input=given)
    assert result.exit_code == 2, result.output
    return result.output


def test_an_image_is_a_file_or_an_address(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded())
    assert body_of(one_item("x", "a.png")) == {"text": "x", "image": data_uri(encoded())}
    for address in ("https://host/a.png", "HTTPS://host/a.png", data_uri(encoded())):
        assert body_of(one_item(None, address)) == {"image": address}


def test_several_texts_are_items_by_their_place():
    given = several_items(["one", "two"], None, jsonl=False)
    assert [(each.source, each.item) for each in given] == [("text 1", Item("one")), ("text 2", Item("two"))]


def test_an_image_that_is_none_is_refused_here(tmp_path):
    (tmp_path / "words.png").write_text("no picture")
    assert "image" in refused("embed", "--image", "words.png")
    assert "there is no file 'nowhere.png'" in refused("search", "--image", "nowhere.png")
    assert "there is no file" in refused("embed", "--image", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "given", "words"),
    [
        ((), None, "Give a text"),
        (("a", "b", "--image", "x.png"), None, "--image goes with one text"),
        (("-", "--image", "x.png"), "a\n", "--image goes with one text"),
        (("a", "--jsonl"), '"b"\n', "leave out texts"),
        (("-",), "", "no items"),
        (("-",), "\n \n", "no items"),
        (("-",), b"\xff\n", "UTF-8"),
        (("--jsonl",), '"a"\n\nnot json\n', "line 3 is not JSON"),
        (("--jsonl",), '{"text": "a", "txet": "b"}\n', "line 1 is no item"),
        (("--jsonl",), "7\n", "line 1 is no item"),
        (("--jsonl",), "{}\n", "line 1 is no item"),
        (("--jsonl",), '{"text": 7}\n', "line 1: text is no string"),
        (("--jsonl",), '{"image": "nowhere.png"}\n', "line 1, image: there is no file"),
    ],
)
def test_what_is_no_item_is_named(arguments, given, words):
    assert words in refused("embed", *arguments, given=given)


def test_a_vector_is_read_from_json_and_from_numpy(tmp_path):
    numbers = [0.5, -0.25, 1]
    (tmp_path / "v.json").write_text(json.dumps(numbers))
    np.save("v.npy", np.array(numbers, np.float32))
    np.save("row.npy", np.array([numbers]))
    for name in ("v.json", "v.npy", "row.npy"):
        assert read_vector(tmp_path / name) == numbers


@pytest.mark.parametrize("content", ["", "[", "{}", "[]", '["a"]', "[true]", "[NaN]", f"[1{'0' * 400}]"])
def test_a_file_that_holds_no_vector_is_named(tmp_path, content, capsys):
    (tmp_path / "v.json").write_text(content)
    with pytest.raises(CommandFailed) as ended:
        read_vector(tmp_path / "v.json")
    assert ended.value.exit_code == 2
    assert "--vector" in capsys.readouterr().err


@pytest.mark.parametrize(
    "array",
    [np.ones((2, 3)), np.array(["a"]), np.float32(1), np.array([1, np.inf]), np.array([1j])],
    ids=["two", "words", "number", "infinity", "complex"],
)
def test_an_array_that_is_no_vector_is_named(tmp_path, array):
    np.save("v.npy", array)
    with pytest.raises(CommandFailed, match="2"):
        read_vector(tmp_path / "v.npy")


def test_a_vector_stands_in_place_of_a_query(tmp_path):
    (tmp_path / "v.json").write_text("[1]")
    (tmp_path / "v.npy").write_text("no array")
    assert "not by both" in refused("search", "words", "--vector", "v.json")
    assert "numpy.save" in refused("search", "--vector", "v.npy")
    assert "--vector" in refused("search")
    refused("search", "--vector", "nowhere.json")
