from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from index.types import Image, InvalidInput, NewDocument
from index.validation import MAX_METADATA_BYTES, check_documents

GOOD = np.array([1.0, 0.0], np.float32)


@pytest.mark.parametrize(
    ("field", "part"),
    [
        ("id", {"id": ""}),
        ("id", {"id": "a" * 513}),
        ("id", {"id": 3}),
        ("id", {"id": "\ud800"}),
        ("text", {"text": 3}),
        ("text", {"text": "\udfff"}),
        ("vector", {"vector": GOOD[:1]}),
        ("vector", {"vector": np.stack([GOOD, GOOD])}),
        ("vector", {"vector": np.array([1.0, np.nan])}),
        ("vector", {"vector": np.array([1.0, np.inf])}),
        ("vector", {"vector": np.zeros(2)}),
        ("vector", {"vector": "ab"}),
        ("image", {"image": Image(b"", "\ud800")}),
        ("metadata", {"metadata": [1]}),
        ("metadata", {"metadata": {"": 1}}),
        ("metadata", {"metadata": {3: 1}}),
        ("metadata", {"metadata": {"k" * 129: 1}}),
        ("metadata", {"metadata": {"k": "x" * MAX_METADATA_BYTES}}),
        ("metadata", {"metadata": {"k": "é" * (MAX_METADATA_BYTES // 2)}}),
        ("metadata.$k", {"metadata": {"$k": 1}}),
        ("metadata.k", {"metadata": {"k": {"nested": 1}}}),
        ("metadata.k", {"metadata": {"k": [[1]]}}),
        ("metadata.k", {"metadata": {"k": float("nan")}}),
        ("metadata.k", {"metadata": {"k": [float("inf")]}}),
        ("metadata.k", {"metadata": {"k": 2**63}}),
        ("metadata.k", {"metadata": {"k": 10**5000}}),
        ("metadata.k", {"metadata": {"k": "\ud800"}}),
        ("metadata.k", {"metadata": {"k": object()}}),
    ],
)
def test_a_bad_part_is_named(field: str, part: dict[str, Any]) -> None:
    good = {"id": "a", "vector": GOOD}
    with pytest.raises(InvalidInput) as caught:
        check_documents([NewDocument(**good), NewDocument(**{**good, **part})], 2)
    assert caught.value.field == f"documents[1].{field}"
    assert str(caught.value)


def test_limits_themselves_are_accepted() -> None:
    data = {"k" * 128: -(2**63), "x": "y" * (MAX_METADATA_BYTES - 170)}
    vectors, encoded = check_documents([NewDocument("a" * 512, GOOD * 3, "", None, data)], 2)
    assert vectors.tolist() == [[1.0, 0.0]]
    assert vectors.dtype == np.float32
    assert len(encoded) == 1


@pytest.mark.parametrize(
    "document_id", [".", "..", "a/../b", "a\\..\\b", "x/..", "photo/image", "two\nlines", "nul\x00"]
)
def test_an_id_that_its_url_cannot_carry_is_refused(document_id: str) -> None:
    document = NewDocument(id=document_id, vector=np.ones(4, np.float32))
    with pytest.raises(InvalidInput, match="id") as refused:
        check_documents([document], 4)
    assert refused.value.field == "documents[0].id"


@pytest.mark.parametrize(
    "document_id", ["a/b.png", "..a", "3.05\u202fPM.png", "\U0001f468\u200d\U0001f469.png", "image"]
)
def test_an_id_may_be_a_file_name(document_id: str) -> None:
    check_documents([NewDocument(id=document_id, vector=np.ones(4, np.float32))], 4)
