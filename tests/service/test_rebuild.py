"""Collections of another checkpoint: refused with the mend, and embedded again by it."""

import itertools
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from index.milvus.store import MilvusStore
from index.store import FaissStore
from index.types import Image, NewDocument
from model.engine import Engine, EngineSettings
from model.errors import EngineStopped
from model.types import EmbedOptions, InputType, Item
from service.app import create_app
from service.cli import app as command_line
from service.rebuild_job import RebuildJob, RebuildProgress, staged_name
from service.runtime import Backend
from service.vector_space import vector_space
from tests.service.images import encoded
from tests.service.test_openai import listening

OLD = "tiny@000000000000"
NAME = "photos"
runner = CliRunner()


def old_documents(count=150):
    """Documents of an earlier checkpoint, of other dimensions; some have images."""
    random = np.random.default_rng(0)
    for n in range(count):
        vector = random.normal(size=32).astype(np.float32)
        image = Image(encoded(colour=(n % 256, 0, 0)), "image/png") if n % 50 == 0 else None
        yield NewDocument(f"doc-{n}", vector / np.linalg.norm(vector), f"text {n}", image, {"n": n})


@pytest.fixture
def start(make_settings, loaded_model, tmp_path):
    """Serves a data directory with a collection of an earlier checkpoint; `before` changes it first."""

    def start(before=lambda store: None, gate=None):
        settings = make_settings()

        def open_it(opening):
            store = FaissStore(settings.data_dir)
            engine = Gated(loaded_model, gate) if gate else Engine(loaded_model, tiny_settings())
            if not any(info.name == NAME for info in store.list()):
                store.create(NAME, 32, OLD)
                store.upsert(NAME, list(old_documents()))
            before(store)
            return Backend(engine, store)

        return listening(create_app(settings, open_it))

    return start


def tiny_settings():
    return EngineSettings(threads=1, dtype="float32")


class Gated(Engine):
    """Asks a gate before it embeds a batch of documents."""

    def __init__(self, loaded, gate):
        super().__init__(loaded, tiny_settings())
        self._gate = gate

    def embed(self, items, options):
        self._gate()
        return super().embed(items, options)


def run(url, *arguments, code=0):
    result = runner.invoke(command_line, ["index", *arguments, "--url", url])
    assert result.exit_code == code, result.output
    return result


def call(url, method, path, **fields):
    return httpx.request(method, f"{url}{path}", timeout=60, **fields)


def state_of(url):
    return call(url, "GET", f"/collections/{NAME}/rebuild").json()


def wait_for(url, condition):
    deadline = time.monotonic() + 60
    while not condition(state := state_of(url)):
        assert time.monotonic() < deadline, state
        time.sleep(0.02)
    return state


def test_another_checkpoints_collection_is_refused_with_the_mend(start):
    with start() as url:
        calls = (
            call(url, "POST", "/search", json={"query": "x", "collection": NAME}),
            call(url, "POST", f"/collections/{NAME}/documents", json={"documents": [{"text": "x"}]}),
            call(url, "PUT", f"/collections/{NAME}"),
        )
        for refused in calls:
            assert refused.status_code == 409
            assert refused.json()["type"] == "/problems/other-model"
            for part in (OLD, "tiny@abababababab", f"solomon index rebuild {NAME}"):
                assert part in refused.json()["detail"]
        assert call(url, "GET", f"/collections/{NAME}/rebuild").status_code == 404
        assert call(url, "POST", "/collections/nowhere/rebuild").status_code == 404
        assert "No rebuild" in run(url, "rebuild", NAME, "--status", code=1).output
        assert call(url, "GET", f"/collections/{NAME}/rebuild").status_code == 404  # none was begun


def test_rebuild_embeds_every_document_again(start, loaded_model):
    engine = Engine(loaded_model, tiny_settings())
    with start() as url:
        outcome = json.loads(run(url, "rebuild", NAME, "--json").stdout)
        assert (outcome["state"], outcome["done"], outcome["resumed"], outcome["failed"]) == (
            "done",
            150,
            0,
            0,
        )
        info = call(url, "GET", f"/collections/{NAME}").json()
        assert (info["count"], info["dimensions"], info["model"]) == (150, 64, vector_space(engine.info))
        assert [c["name"] for c in call(url, "GET", "/collections").json()["collections"]] == [NAME]
        for old in list(old_documents())[::50]:
            item = Item(old.text, old.image and old.image.data)
            [made] = engine.embed([item], EmbedOptions(input_type=InputType.DOCUMENT))
            body = {"vector": made.vector.tolist(), "k": 1, "collection": NAME}
            [hit] = call(url, "POST", "/search", json=body).json()["results"]
            assert (hit["id"], hit["text"], hit["metadata"]) == (old.id, old.text, dict(old.metadata))
            assert hit["score"] == pytest.approx(1.0, abs=1e-5)
            assert (hit["image_url"] is None) == (old.image is None)
            if old.image is not None:
                assert call(url, "GET", hit["image_url"]).content == old.image.data
        assert "150 of 150" in run(url, "rebuild", NAME).stdout  # nothing is left to do
        assert "150 of 150" in run(url, "rebuild", NAME, "--status").stdout
        run(url, "rebuild", NAME, "--status", "--stop", code=2)
    engine.close()
    with start() as url:  # it is on disk under its name
        found = call(url, "POST", "/search", json={"query": "text 7", "k": 1, "collection": NAME})
        assert found.status_code == 200


def test_a_rebuild_that_was_cut_short_goes_on_and_follows_what_changed_between(start, loaded_model):
    batches = itertools.count()

    def one_batch():
        if next(batches):
            raise EngineStopped("The engine was closed.")

    with start(gate=one_batch) as url:
        assert call(url, "POST", f"/collections/{NAME}/rebuild").status_code == 202
        state = wait_for(url, lambda state: state["state"] == "failed")
        assert "EngineStopped" in state["reason"]
    # Before the next start, documents of the old collection change.
    kept = {}

    def change(store):
        kept["staged"] = store.get(staged_name(NAME)).count
        store.delete_document(NAME, "doc-3")
        [changed] = [document for document in old_documents() if document.id == "doc-5"]
        store.upsert(NAME, [NewDocument("doc-5", changed.vector, "another text", None, {})])

    with start(change) as url:
        assert call(url, "GET", f"/collections/{NAME}").json()["model"] == OLD
        run(url, "rebuild", NAME)
        state = state_of(url)
        assert kept["staged"] == 64
        assert (state["total"], state["done"], state["resumed"]) == (149, 149, 64 - 2)
        info = call(url, "GET", f"/collections/{NAME}").json()
        assert (info["count"], info["dimensions"]) == (149, 64)
        assert call(url, "GET", f"/collections/{NAME}/documents/doc-3").status_code == 404
        assert call(url, "GET", f"/collections/{NAME}/documents/doc-5").json()["text"] == "another text"


def test_a_rebuild_works_on_milvus_too(tmp_path, loaded_model):
    store, engine = MilvusStore(str(tmp_path / "lite.db")), Engine(loaded_model, tiny_settings())
    try:
        store.create(NAME, 32, OLD)
        store.upsert(NAME, list(old_documents(55)))
        job = RebuildJob(engine, store, NAME, drop_failed=False, batch=20, stopping=threading.Event())
        for expected in (55, 0):  # the second time everything is staged already
            progress = RebuildProgress(total=55)
            store.create(staged_name(NAME), 64, vector_space(engine.info))
            if not expected:
                staged = [document for batch in store.export(NAME) for document in batch]
                store.upsert(staged_name(NAME), staged)
            job.run(progress)
            assert (progress.done, progress.done - progress.resumed) == (55, expected)
            assert [(info.name, info.count, info.dimensions) for info in store.list()] == [(NAME, 55, 64)]
        [made] = engine.embed([Item("text 7")], EmbedOptions(input_type=InputType.DOCUMENT))
        [hit] = store.search(NAME, made.vector, 1)
        assert (hit.document.id, hit.document.metadata) == ("doc-7", {"n": 7})
        assert store.get_image(NAME, "doc-50") == list(old_documents(55))[50].image
    finally:
        engine.close()
        store.close()


def test_writes_are_refused_while_it_runs_and_queries_answered(start):
    batches = threading.Semaphore(0)

    def gate():
        assert batches.acquire(timeout=60)

    with start(lambda store: store.create("other", 64, "tiny@abababababab"), gate=gate) as url:
        call(url, "POST", f"/collections/{NAME}/rebuild")
        vector = {"documents": [{"text": "x", "vector": [1.0] + [0.0] * 31}], "model": OLD}
        staged = f"/collections/{staged_name(NAME)}"
        for method, path, body in (
            ("POST", f"/collections/{NAME}/documents", vector),
            ("DELETE", f"/collections/{NAME}/documents/doc-1", None),
            ("DELETE", f"/collections/{NAME}", None),
            ("DELETE", staged, None),
            ("POST", f"{staged}/documents", vector),
            ("POST", f"{staged}/rebuild", None),
            ("PUT", staged, None),
        ):
            refused = call(url, method, path, **({"json": body} if body else {}))
            assert (refused.status_code, refused.json()["type"]) == (409, "/problems/rebuilding"), path
        by_vector = {"vector": [1.0] + [0.0] * 31, "collection": NAME}
        assert len(call(url, "POST", "/search", json=by_vector).json()["results"]) == 10
        assert call(url, "POST", "/search", json={"query": "x", "collection": "other"}).status_code == 200
        again = call(url, "POST", f"/collections/{NAME}/rebuild")  # joins the one that runs
        assert (again.status_code, again.json()["state"]) == (202, "running")
        with ThreadPoolExecutor(1) as pool:
            stopped = pool.submit(run, url, "rebuild", NAME, "--stop")
            while not stopped.done():  # it waits for the batches under way
                time.sleep(0.2)
                batches.release()
        assert "stopped" in stopped.result().stdout
        assert (
            json.loads(run(url, "rebuild", NAME, "--status", "--json", code=1).stdout)["state"] == "stopped"
        )
        gone = call(url, "DELETE", f"/collections/{NAME}/documents/doc-1")
        assert gone.status_code == 204
        batches.release(10)
        assert "149 of 149" in run(url, "rebuild", NAME).stdout


def test_documents_that_cannot_be_embedded_keep_the_old_collection(start):
    def spoil(store):
        store.upsert(NAME, [NewDocument("long", np.eye(1, 32, dtype=np.float32)[0], "too long " * 200)])

    with start(spoil) as url:
        failed = run(url, "rebuild", NAME, code=1)
        assert "long: " in failed.output
        assert "drop_failed" in failed.output
        assert call(url, "GET", f"/collections/{NAME}").json()["model"] == OLD
        assert "1 failed" in run(url, "rebuild", NAME, "--drop-failed").output
        info = call(url, "GET", f"/collections/{NAME}").json()
        assert (info["count"], info["model"]) == (150, "tiny@abababababab")


def test_vectors_do_not_enter_a_collection_that_changed_its_checkpoint_meanwhile(start, monkeypatch):
    """It may be rebuilt, or restored from another's backup, while a document is embedded."""
    stores, submit = [], Engine.submit

    def become_anothers(engine, *options):
        stores[0].drop("new")
        stores[0].create("new", 64, OLD)
        return submit(engine, *options)

    monkeypatch.setattr(Engine, "submit", become_anothers)
    with start(before=stores.append) as url:
        assert call(url, "PUT", "/collections/new").status_code == 201
        refused = call(url, "POST", "/collections/new/documents", json={"documents": [{"text": "x"}]})
        assert (refused.status_code, refused.json()["type"]) == (409, "/problems/other-model")
        assert call(url, "GET", "/collections/new").json()["count"] == 0


def test_a_query_is_not_answered_by_a_collection_that_changed_its_checkpoint_meanwhile(start, monkeypatch):
    stores, submit = [], Engine.submit

    def become_anothers(engine, *options):
        stores[0].drop("new")
        stores[0].create("new", 64, OLD)
        return submit(engine, *options)

    with start(before=stores.append) as url:
        assert call(url, "PUT", "/collections/new").status_code == 201
        monkeypatch.setattr(Engine, "submit", become_anothers)
        refused = call(url, "POST", "/search", json={"query": "x", "collection": "new"})
        assert (refused.status_code, refused.json()["type"]) == (409, "/problems/other-model")
