"""What the index's tests share: stores, each with the empty collection "things"."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from index.milvus.store import MilvusStore
from index.store import FaissStore
from index.types import VectorStore

DIMENSIONS = 8


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FaissStore]:
    opened = FaissStore(tmp_path / "data")
    opened.create("things", DIMENSIONS, "a-model")
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def milvus_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One Milvus Lite for all tests, since starting it takes longer than they do."""
    uri = str(tmp_path_factory.mktemp("milvus") / "lite.db")
    keeping_it_open = MilvusStore(uri)
    yield uri
    keeping_it_open.close()


@pytest.fixture
def milvus_store(milvus_uri: str) -> Iterator[MilvusStore]:
    opened = MilvusStore(milvus_uri)
    opened.create("things", DIMENSIONS, "a-model")
    yield opened
    for info in opened.list():
        opened.drop(info.name)
    opened.close()


@pytest.fixture(params=["store", "milvus_store"])
def any_store(request: pytest.FixtureRequest) -> VectorStore:
    """Each store in turn, for tests of what all of them promise."""
    return cast(VectorStore, request.getfixturevalue(request.param))
