"""`solomon index copy` between stores of both kinds."""

import json
import socket

import numpy as np
import pytest
from typer.testing import CliRunner

from index.milvus.store import MilvusStore
from index.store import FaissStore
from index.types import Image, NewDocument
from service.cli import app

runner = CliRunner()
PICTURE = Image(b"\x89PNG" * 30_000, "image/png")


def run(*arguments, code=0):
    result = runner.invoke(app, ["index", "copy", *(str(argument) for argument in arguments)])
    assert result.exit_code == code, result.output
    return result


def documents(count, dimensions=8):
    vectors = np.random.default_rng(count).normal(size=(count, dimensions)).astype(np.float32)
    return [
        NewDocument(
            f"d{n}", vectors[n], f"text {n}", PICTURE if n % 50 == 0 else None, {"n": n, "one": [1.0]}
        )
        for n in range(count)
    ]


@pytest.fixture
def source(tmp_path):
    store = FaissStore(tmp_path / "source")
    store.create("things", 8, "a-model")
    store.upsert("things", documents(120))
    store.create("wide", 16, "b-model")
    store.upsert("wide", documents(3, 16))
    store.close()
    return tmp_path / "source"


def contents(store, name):
    return {
        document.id: (document.text, document.image, dict(document.metadata))
        for batch in store.export(name)
        for document in batch
    }


def test_collections_go_to_milvus_and_back(source, tmp_path):
    lite, back = tmp_path / "copy.db", tmp_path / "back"
    assert "things: 120 documents written, 0 were there already." in run(source, lite).output
    run(lite, back)
    original, copied, returned = FaissStore(source), MilvusStore(str(lite)), FaissStore(back)
    for name, dimensions, model in (("things", 8, "a-model"), ("wide", 16, "b-model")):
        for store in (copied, returned):
            info = store.get(name)
            assert (info.dimensions, info.model) == (dimensions, model)
            assert contents(store, name) == contents(original, name)
            query = np.random.default_rng(5).normal(size=dimensions)
            expected = original.search(name, query, 10)
            found = store.search(name, query, 10)
            assert [hit.document for hit in found] == [hit.document for hit in expected]
            assert [hit.score for hit in found] == pytest.approx([hit.score for hit in expected], abs=1e-6)
    for store in (original, copied, returned):
        store.close()


def test_a_copy_goes_on_where_it_stopped(source, tmp_path):
    target = MilvusStore(str(tmp_path / "copy.db"))
    target.create("things", 8, "a-model")
    given = documents(120)
    changed = [
        NewDocument("d1", given[1].vector, "another text", None, given[1].metadata),
        NewDocument("d2", given[3].vector, "text 2", None, given[2].metadata),
        NewDocument("d4", given[4].vector, "text 4", None, {"n": 4, "one": [True]}),
        NewDocument("d50", given[50].vector, "text 50", Image(b"other", "image/png"), given[50].metadata),
    ]
    target.upsert("things", given[:60] + changed)
    target.close()
    answer = json.loads(run(source, tmp_path / "copy.db", "-c", "things", "--json").output)
    assert answer["collections"] == [
        {
            "collection": "things",
            "written": 64,
            "unchanged": 56,
            "source_count": 120,
            "target_count": 120,
            "reason": None,
        }
    ]
    assert "0 documents written, 120 were there already" in run(source, tmp_path / "copy.db").output


def test_what_keeps_a_copy_from_being_equal_is_told(source, tmp_path):
    target = FaissStore(tmp_path / "target")
    target.create("things", 8, "a-model")
    target.upsert("things", [NewDocument("extra", np.ones(8, np.float32))])
    target.create("wide", 16, "another-model")
    target.close()
    result = run(source, tmp_path / "target", code=1)
    assert "The source has 120 documents and the target 121" in result.output
    assert "exists with 16 dimensions of the model 'another-model'" in result.output
    assert "No collection has the name 'none'" in run(source, tmp_path / "other", "-c", "none", code=1).output


def test_stores_that_cannot_be_opened_are_named(source, tmp_path):
    assert "There is no store at" in run(tmp_path / "nothing", tmp_path / "t", code=1).output
    assert "There is no store at" in run(tmp_path / "nothing.db", tmp_path / "t", code=1).output
    (tmp_path / "empty").mkdir()
    assert "holds no collections" in run(tmp_path / "empty", tmp_path / "t", code=1).output
    assert not (tmp_path / "t").exists()
    run(source, source, code=2)
    assert "not a scheme of Milvus" in run(source, "redis://host", code=2).output
    secret = run(source, "http://root:hush@host:19530", code=2).output
    assert "SOLOMON_MILVUS_TOKEN" in secret
    assert "hush" not in secret
    store = FaissStore(source)
    assert f"has the data directory {source} open" in " ".join(
        run(source, tmp_path / "t", code=1).output.split()
    )
    store.close()


def test_a_milvus_that_does_not_answer_has_its_own_exit_code(source):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert "does not answer" in run(source, address, code=3).output
