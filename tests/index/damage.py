"""Damages the files of a collection, and says what a store must hold after that."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from index.schema import PAGE_SIZE
from index.store import FaissStore
from index.types import UnknownDocument
from tests.index.documents import vector_of

Texts = Mapping[str, str | None]  # by id; None: deleted

# How a database's pages begin: those of its tables, and those of its only index, which is over the ids.
TABLE_BRANCH, TABLE_LEAF, INDEX_BRANCH, INDEX_LEAF = 0x05, 0x0D, 0x02, 0x0A


def flip_bits(file: Path, choose: random.Random, count: int = 1) -> None:
    """Turn over bits at random places of a file."""
    content = bytearray(file.read_bytes())
    for _ in range(count):
        bit = choose.randrange(8 * len(content))
        content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)


def cut_short(file: Path, choose: random.Random) -> None:
    """Take away the end of a file."""
    content = file.read_bytes()
    file.write_bytes(content[: choose.randrange(len(content))])


def pages_of(file: Path, kind: int) -> list[int]:
    """Where in a database's file its pages of a kind begin, but for the first page."""
    content = file.read_bytes()
    return [at for at in range(PAGE_SIZE, len(content), PAGE_SIZE) if content[at] == kind]


def check_damaged(store: FaissStore, name: str, expected: Texts, undecided: Texts | None = None) -> set[str]:
    """Every live document is served as it was written or is named as lost; nothing else is served.

    Documents whose vectors follow from their texts are meant. `undecided` is what a call that did not
    return may have done, or not. Returns the ids of those that are lost.
    """
    undecided = undecided or {}
    live = {document_id: text for document_id, text in expected.items() if text is not None}
    hits = store.search(name, vector_of("anything"), 1000)
    served = {hit.document.id: hit.document.text for hit in hits}
    assert len(served) == len(hits) == store.get(name).count
    for document_id, text in served.items():
        assert text is not None
        assert text in (live.get(document_id), undecided.get(document_id))
        assert store.get_document(name, document_id).text == text
        [hit] = store.search(name, vector_of(text), 1)
        assert (hit.document.id, hit.score) == (document_id, pytest.approx(1.0, abs=1e-6))
    for document_id in expected.keys() - served.keys():
        with pytest.raises(UnknownDocument):
            store.get_document(name, document_id)
    report = store.verify(name)
    assert report.damage == []
    assert {loss.id for loss in report.losses}.isdisjoint(served)
    lost = live.keys() - served.keys() - undecided.keys()
    unnamed = lost - {loss.id for loss in report.losses}
    # An id that was damaged itself may be told wrongly, or not at all; then it is counted.
    assert len(unnamed) <= sum(loss.documents for loss in report.losses if loss.id not in expected)
    assert bool(lost) <= bool(store.get(name).lost)
    return lost
