"""Reads the demo corpus: emoji pictures with their names, and one capital a country as a sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

_MEDIA_TYPE = "image/png"  # every picture of the corpus is a PNG, see build.py


@dataclass(frozen=True, slots=True)
class DemoDocument:
    """A document to embed and index; at least one of `text` and `image` is there.

    `image` is an encoded image of the type `media_type` (both None for a text). `metadata` always has
    `kind` ("emoji" or "country"), `licence` and `source`; an emoji has `name` and `category` besides, a
    country has `country`, `capital`, `continent`, `currency`, `currency_code` and `population`.
    """

    id: str
    text: str | None
    image: bytes | None = field(repr=False)
    media_type: str | None
    metadata: Mapping[str, Any]


def demo_documents() -> list[DemoDocument]:
    """Every document of the demo corpus, in the order of documents.jsonl."""
    folder = files(__package__)
    documents = []
    for line in folder.joinpath("documents.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        path = row.get("image")
        documents.append(
            DemoDocument(
                id=row["id"],
                text=row.get("text"),
                image=None if path is None else folder.joinpath(path).read_bytes(),
                media_type=None if path is None else _MEDIA_TYPE,
                metadata=row["metadata"],
            )
        )
    return documents
