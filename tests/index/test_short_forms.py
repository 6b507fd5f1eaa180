"""A short document at hand is the one in the log to the letter; a long one is not taken for a short one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from index.log_snapshot import document_of
from index.settings import IndexSettings
from index.short_forms import FORM_BYTES, documents_at_hand, short_form
from index.store import FaissStore
from index.types import Image, NewDocument
from tests.index.test_upkeep import VECTORS, D, segment_of, settled

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=150)
VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
METADATA = st.dictionaries(TEXTS, VALUES | st.lists(VALUES, max_size=3), max_size=4)


@examples(deadline=None)
@given(TEXTS, st.none() | TEXTS, st.none() | st.just("image/png"), METADATA)
def test_a_form_is_the_document_or_nothing(
    name: str, text: str | None, media_type: str | None, metadata: dict[str, Any]
) -> None:
    encoded = [None if value is None else value.encode() for value in (text, media_type)]
    fields = json.dumps(metadata).encode()
    form = short_form(name.encode(), encoded[0], encoded[1], fields)
    assert len(form) == FORM_BYTES
    empty, found, again = documents_at_hand([b"", form, form])
    assert empty is None
    assert found == again
    if found is not None:
        assert found == document_of((1, name.encode(), encoded[0], fields, encoded[1], 0))
    else:
        assert len(json.dumps([name, text, media_type], ensure_ascii=False).encode()) + len(fields) > 250


SHORT, LONG = "a line", "a longer text, " * 30


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FaissStore]:
    opened = FaissStore(tmp_path, index=IndexSettings(kind="ivf"))
    opened.create("things", D, "m")
    opened.upsert("things", [given_document(number) for number in range(1200)])
    settled(opened)
    yield opened
    opened.close()


def given_document(number: int) -> NewDocument:
    image = Image(b"picture", "image/png") if number % 3 == 0 else None
    text = LONG if number % 2 else SHORT
    return NewDocument(f"n{number}", VECTORS[number], text, image, {"number": number})


def test_hits_are_whole_whether_their_documents_are_at_hand_or_not(store: FaissStore) -> None:
    hits = store.search("things", VECTORS[6], 40)
    assert {len(hit.document.text or "") for hit in hits} == {len(SHORT), len(LONG)}
    for hit in hits:
        assert hit.document == store.get_document("things", hit.document.id)


def test_a_document_that_was_written_anew_or_deleted_is_not_answered_from_the_file(store: FaissStore) -> None:
    store.upsert("things", [NewDocument("n6", VECTORS[6], "another text")])
    store.delete_document("things", "n8")
    segment = segment_of(store)
    assert segment.exact is not None
    assert segment.exact.covers(1200)
    [hit] = store.search("things", VECTORS[6], 1)
    assert (hit.document.id, hit.document.text) == ("n6", "another text")
    assert "n8" not in {hit.document.id for hit in store.search("things", VECTORS[8], 50)}
    assert np.isclose(hit.score, 1.0)
