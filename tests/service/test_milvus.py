"""The server on Milvus: chosen by a setting, without state of its own, and what it says of an outage."""

import time
from contextlib import ExitStack, contextmanager

import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient

from index.milvus.store import MilvusStore
from index.types import StoreUnreachable
from model.engine import Engine, EngineSettings
from service.app import create_app
from service.runtime import Backend
from service.settings import Settings
from service.startup import BackendOpener, open_store
from service.vector_space import vector_space
from tests.index.milvus_server import free_port, milvus_server
from tests.service.conftest import LOCAL, wait_until_ready
from tests.service.images import data_uri, encoded


@pytest.mark.parametrize("store", ["http://milvus:19530", "https://milvus/db", "unix:/run/milvus", "a/b.db"])
def test_a_store_may_be_in_milvus(store):
    assert Settings(store=store).store == store


@pytest.mark.parametrize(
    ("store", "mend"),
    [
        ("milvus", "neither 'faiss'"),
        ("/var/lib/solomon", "neither 'faiss'"),
        ("redis://host", "not a scheme"),
        ("http://root:hush@milvus:19530", "SOLOMON_MILVUS_TOKEN"),
    ],
)
def test_another_store_is_refused(store, mend):
    with pytest.raises(ValidationError, match=mend):
        Settings(store=store)


def test_the_token_is_never_shown():
    assert "hush" not in repr(Settings(milvus_token="root:hush"))


def test_the_settings_reach_milvus(tmp_path, make_settings):
    settings = make_settings(
        store=str(tmp_path / "lite.db"),
        milvus_token="t",
        milvus_index="hnsw",
        milvus_consistency="Session",
        milvus_shards=2,
        milvus_replicas=3,
    )
    store = open_store(settings)
    assert isinstance(store, MilvusStore)
    assert store.create("things", 8, "m").index_kind == "hnsw"
    assert (store._consistency, store._shards, store._replicas) == ("Session", 2, 3)
    store.close()


def test_replicas_index_no_demo_and_write_no_files(tmp_path, make_settings, loaded_model, monkeypatch):
    monkeypatch.setattr(
        "service.startup.open_engine",
        lambda settings, observer=None: Engine(loaded_model, EngineSettings(threads=1, dtype="float32")),
    )
    settings = make_settings(store=str(tmp_path / "lite.db"), demo=True)
    with TestClient(create_app(settings, BackendOpener(settings)), LOCAL) as client:
        wait_until_ready(client)
        assert client.get("/collections/default").json()["count"] == 0
    assert not settings.data_dir.exists()


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def serve_replica(make_settings, loaded_model, port):
    """A context manager that serves an application on the Milvus at the port."""

    def opener(opening):
        store = MilvusStore(f"http://127.0.0.1:{port}", call_seconds=10)
        engine = Engine(loaded_model, EngineSettings(threads=1, dtype="float32"), observer=opening.observer)
        store.create("default", engine.info.dimensions, vector_space(engine.info))
        return Backend(engine, store)

    @contextmanager
    def serve():
        with TestClient(create_app(make_settings(), opener), LOCAL, raise_server_exceptions=False) as client:
            wait_until_ready(client)
            yield client

    return serve


def test_replicas_share_documents(tmp_path, port, serve_replica):
    documents = {"documents": [{"id": "a", "text": "a text", "image": data_uri(encoded())}]}
    with milvus_server(tmp_path, port), serve_replica() as one, serve_replica() as other:
        assert one.post("/collections/default/documents", json=documents).status_code == 201
        found = other.post("/search", json={"query": "a text"}).json()["results"]
        assert [hit["id"] for hit in found] == ["a"]
        assert other.get(found[0]["image_url"]).content == encoded()
        assert other.delete("/collections/default/documents/a").status_code == 204
        assert one.get("/collections/default/documents/a").status_code == 404


def test_an_outage_of_milvus_is_told_and_survived(tmp_path, port, serve_replica):
    documents = {"documents": [{"id": "a", "text": "a text", "metadata": {"n": 1}}]}
    query = {"query": "a text", "filter": {"n": {"gte": 1}}}
    with ExitStack() as serving:
        with milvus_server(tmp_path, port):
            client = serving.enter_context(serve_replica())
            assert client.post("/collections/default/documents", json=documents).status_code == 201
        for answer in (
            client.post("/search", json=query),
            client.post("/collections/default/documents", json=documents),
            client.get("/collections"),
        ):
            assert answer.status_code == 503, answer.text
            assert answer.json()["type"] == "/problems/store-unreachable"
            assert int(answer.headers["Retry-After"]) >= 1
        assert client.post("/embed", json={"input": "a text"}).status_code == 200
        assert client.get("/readyz").status_code == 200
        with milvus_server(tmp_path, port):
            deadline = time.monotonic() + 60
            while client.post("/search", json=query).status_code == 503:
                assert time.monotonic() < deadline, "the server did not find Milvus again"
                time.sleep(0.1)
            assert [hit["id"] for hit in client.post("/search", json=query).json()["results"]] == ["a"]


def test_a_server_that_cannot_reach_milvus_says_so_at_the_start(make_settings, port):
    settings = make_settings(store=f"http://127.0.0.1:{port}")
    with pytest.raises(StoreUnreachable, match=str(port)):
        open_store(settings)
