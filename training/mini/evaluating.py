"""Candidate lists: the right document first, then others that differ from it and from one another."""

from __future__ import annotations

import random
from collections.abc import Sequence

from training.mmeb import EvaluationRow

Document = tuple[str, str]  # text, image path


def text_documents(texts: Sequence[str]) -> list[Document]:
    """Documents of text alone."""
    return [(text, "") for text in texts]


def image_documents(paths: Sequence[str]) -> list[Document]:
    """Documents of an image alone."""
    return [("", path) for path in paths]


def evaluation_row(
    query: str, image: str, right: Document, others: Sequence[Document], augmentation: str = ""
) -> EvaluationRow:
    """One query; documents that repeat (texts in any case of letters) are named once."""
    documents = {(text.lower(), path): (text, path) for text, path in (*reversed(others), right)}
    del documents[(right[0].lower(), right[1])]
    texts, paths = zip(right, *reversed(documents.values()), strict=True)
    return EvaluationRow(query, image, list(texts), list(paths), augmentation)


def draw(rng: random.Random, documents: Sequence[Document], right: Document, count: int) -> list[Document]:
    """Up to `count` documents other than the right one, at random."""
    others = [other for other in documents if other[0].lower() != right[0].lower() or other[1] != right[1]]
    return rng.sample(others, min(count, len(others)))
