"""Documents and vectors for the index's tests."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from hypothesis import strategies as st

from index.types import Image, NewDocument, Vectors


def vector_of(text: str, dimensions: int = 8) -> Vectors:
    """A unit vector that a text determines, in any process."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    vector = np.random.default_rng(seed).normal(size=dimensions)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def document(
    document_id: str, text: str | None = None, image: Image | None = None, **metadata: Any
) -> NewDocument:
    """A document whose vector follows from its text, or else its id."""
    return NewDocument(document_id, vector_of(text or document_id), text, image, metadata)


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([-1.5, 0.0, 1.0, 2.5])
    | st.sampled_from(["", "a", "b", "1"])
)
metadata = st.dictionaries(st.sampled_from(["kind", "year", "tags"]), scalars | st.lists(scalars, max_size=3))
