"""Random histories of a store against a dictionary, for each kind of store to be put through."""

from __future__ import annotations

import shutil
import tempfile
from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from index.types import Document, NewDocument, UnknownDocument, VectorStore
from tests.index.documents import metadata, vector_of

ids = st.integers(0, 12).map("doc-{}".format)
texts = st.sampled_from(["one", "two", "three", "four"])


class StoreHistory(RuleBasedStateMachine):
    """A store that is written and reopened holds what a dictionary would."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.store = self.open_store(self.folder / "data")
        self.store.create("things", 8, "m")
        self.expected: dict[str, Document] = {}

    @abstractmethod
    def open_store(self, path: Path) -> VectorStore:
        """Open the store whose files are at a path; made if missing."""

    @rule(batch=st.lists(st.tuples(ids, texts, metadata), max_size=6))
    def upsert(self, batch: list[tuple[str, str, dict[str, Any]]]) -> None:
        self.store.upsert("things", [NewDocument(i, vector_of(t), t, None, m) for i, t, m in batch])
        self.expected |= {i: Document(i, t, m) for i, t, m in batch}

    @rule(document_id=ids)
    def delete(self, document_id: str) -> None:
        if self.expected.pop(document_id, None) is not None:
            self.store.delete_document("things", document_id)
        else:
            with pytest.raises(UnknownDocument):
                self.store.delete_document("things", document_id)

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = self.open_store(self.folder / "data")

    @rule()
    def recreate(self) -> None:
        self.store.drop("things")
        self.store.create("things", 8, "m")
        self.expected.clear()

    @precondition(lambda self: self.expected)
    @rule(query=texts, k=st.integers(1, 15))
    def search(self, query: str, k: int) -> None:
        vector = vector_of(query).astype(np.float64)
        scored = sorted(
            (-float(np.sum(vector_of(str(d.text)).astype(np.float64) * vector)), d.id)
            for d in self.expected.values()
        )
        hits = self.store.search("things", vector_of(query), k)
        assert [(hit.document.id, pytest.approx(hit.score, abs=1e-6)) for hit in hits] == [
            (document_id, -negated) for negated, document_id in scored[:k]
        ]

    @invariant()
    def holds_what_is_expected(self) -> None:
        assert self.store.get("things").count == len(self.expected)
        hits = self.store.search("things", vector_of("any"), 1000)
        assert {hit.document.id: hit.document for hit in hits} == self.expected

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)
