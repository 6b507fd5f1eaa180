import io

import pytest
from rich.console import Console

from index.store import FaissStore
from index.types import NewDocument
from model.engine import Engine, EngineSettings
from model.types import EmbedOptions
from service.demo.corpus import demo_documents
from service.runtime import Backend, OpeningStopped
from service.startup import prepare_default_collection


class Opening:
    """Records stages, and stops after a number of checks."""

    observer = None

    def __init__(self, checks=10**6):
        self.stages = []
        self.checks = checks

    def describe(self, stage):
        self.stages.append(stage)

    def check_stopping(self):
        self.checks -= 1
        if self.checks < 0:
            raise OpeningStopped


@pytest.fixture(scope="module")
def engine(loaded_model):
    engine = Engine(loaded_model, EngineSettings(threads=1, dtype="float32"))
    yield engine
    engine.close()


@pytest.fixture
def backend(engine, tmp_path):
    store = FaissStore(tmp_path / "data")
    yield Backend(engine, store)
    store.close()


@pytest.fixture
def prepare(backend, tmp_path):
    def prepare_with(opening=None, demo=True, into=backend):
        opening = opening or Opening()
        marker = tmp_path / "demo-indexed" if demo else None
        console = Console(file=io.StringIO())
        prepare_default_collection(into, opening, demo_marker=marker, console=console)
        return opening

    return prepare_with


def test_the_demo_is_indexed_once_and_resumed_where_it_stopped(backend, prepare):
    with pytest.raises(OpeningStopped):
        prepare(Opening(checks=2))
    part = backend.store.get("default").count
    assert 0 < part < len(demo_documents())
    first = prepare()
    assert first.stages
    assert backend.store.get("default").count == len(demo_documents())
    picture = next(document for document in demo_documents() if document.image)
    assert backend.store.get_image("default", picture.id).data == picture.image
    backend.store.delete_document("default", picture.id)
    assert not prepare().stages, "a document that was deleted does not come back"
    assert picture.id not in backend.store.existing_ids("default", [picture.id])


def test_without_a_demo_the_collection_is_made_empty(backend, prepare):
    prepare(demo=False)
    assert backend.store.get("default").count == 0


def test_other_documents_and_other_models_are_left_alone(backend, prepare):
    prepare(demo=False)
    [embedding] = backend.embedder.embed([_item()], EmbedOptions())
    backend.store.upsert("default", [NewDocument("mine", embedding.vector, text="mine")])
    prepare()
    assert backend.store.get("default").count == 1
    backend.store.drop("default")
    backend.store.create("default", 64, "another@model")
    prepare()
    assert backend.store.get("default").count == 0


def _item():
    from model.types import Item

    return Item("mine")
