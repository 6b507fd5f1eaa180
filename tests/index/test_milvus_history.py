"""Random histories of the store in Milvus, with restarts of Milvus Lite."""

from __future__ import annotations

from pathlib import Path

from hypothesis import settings

from index.milvus.store import MilvusStore
from tests.index.histories import StoreHistory


class MilvusHistory(StoreHistory):
    """The store in Milvus; reopening it restarts Milvus Lite, so that rows come from its log and files."""

    def open_store(self, path: Path) -> MilvusStore:
        return MilvusStore(str(path.with_suffix(".db")))


MilvusHistory.TestCase.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)
TestMilvusHistory = MilvusHistory.TestCase
