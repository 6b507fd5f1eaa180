"""The stores side by side: the same corpus and questions, the same answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from index.milvus.store import MilvusStore
from index.store import FaissStore
from index.types import Image, NewDocument

COUNT = 2000
DIMENSIONS = 32
FILTERS: list[dict[str, Any] | None] = [
    None,
    {"kind": "photo"},
    {"kind": {"in": ["photo", "note"]}, "year": {"gte": 1995}},
    {"year": {"gte": 1990, "lt": 1991}},
    {"tags": {"in": ["t3", "t4"]}, "kind": {"ne": "note"}},
    {"$or": [{"rank": {"lt": 0.01}}, {"$not": {"tags": {"exists": True}}}]},
    {"$not": {"year": {"lte": 2004}}},
    {"year": {"gt": 2100}},
    {"title": {"gte": "title 19", "lt": "title 2"}},
]


def corpus() -> list[NewDocument]:
    """Clustered vectors, some of them equal, with metadata of every type and some that is missing."""
    random = np.random.default_rng(11)
    centres = random.normal(size=(20, DIMENSIONS))
    vectors = centres[random.integers(0, 20, COUNT)] + 0.3 * random.normal(size=(COUNT, DIMENSIONS))
    vectors[COUNT // 2 : COUNT // 2 + 50] = vectors[0]
    documents = []
    for number, vector in enumerate(vectors.astype(np.float32)):
        metadata: dict[str, Any] = {
            "kind": ("photo", "emoji", "note")[number % 3],
            "year": 1980 + number % 40 if number % 7 else str(1980 + number % 40),
            "rank": float(random.random()),
            "title": f"title {number}",
        }
        if number % 5:
            metadata["tags"] = [f"t{number % 9}", number % 4]
        image = Image(bytes([number % 256]) * 10, "image/png") if number % 100 == 0 else None
        documents.append(NewDocument(f"doc-{number:04}", vector, f"text {number}", image, metadata))
    return documents


def test_both_stores_give_the_same_answers(store: FaissStore, milvus_store: MilvusStore) -> None:
    documents = corpus()
    for each in (store, milvus_store):
        each.create("corpus", DIMENSIONS, "m")
        for start in range(0, COUNT, 500):
            each.upsert("corpus", documents[start : start + 500])
        each.upsert("corpus", [documents[1], documents[2]])
        each.delete_document("corpus", documents[3].id)
    assert store.get("corpus").count == milvus_store.get("corpus").count == COUNT - 1
    random = np.random.default_rng(12)
    queries = [documents[0].vector, *random.normal(size=(2, DIMENSIONS)).astype(np.float32)]
    answers = 0
    for query in queries:
        for wanted in FILTERS:
            for k in (1, 10, 1000):
                expected = store.search("corpus", query, k, wanted)
                found = milvus_store.search("corpus", query, k, wanted)
                assert [hit.document for hit in found] == [hit.document for hit in expected], (wanted, k)
                assert [hit.score for hit in found] == pytest.approx(
                    [hit.score for hit in expected], abs=1e-6
                )
                answers += len(found)
    assert answers > 10_000
