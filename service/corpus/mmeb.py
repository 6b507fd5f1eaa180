"""MMEB's files as corpora: a training row's positive, an evaluation row's candidates.

The columns are those of `TIGER-Lab/MMEB-train` and `TIGER-Lab/MMEB-eval`: an empty string means "none",
`<|image_1|>` marks the image in a text, and image paths are relative to an image root. The same candidate
stands in many rows; its id follows from its content, so that it is added once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from service.client.outcomes import Failure
from service.corpus.entries import Entry, Unreadable, make_entry
from service.corpus.rows import read_image

IMAGE_MARKER = "<|image_1|>"
_POSITIVE = ("pos_text", "pos_image_path")
_TARGETS = ("tgt_text", "tgt_img_path")


def is_mmeb(columns: Collection[str]) -> bool:
    """Whether a table with these columns is one of MMEB's."""
    query = any(name in columns for name in ("qry", "qry_text", "qry_image_path", "qry_img_path"))
    return query and any(name in columns for name in (*_POSITIVE, *_TARGETS))


def mmeb_entries(source: str, row: Mapping[str, Any], image_root: Path) -> Iterator[Entry | Failure]:
    """The documents of one row."""
    if any(name in row for name in _TARGETS):
        texts, images = (_strings(row.get(name)) for name in _TARGETS)
    else:
        texts, images = ([str(row.get(name) or "")] for name in _POSITIVE)
    if texts and images and len(texts) != len(images):
        yield Failure(source, "tgt_text and tgt_img_path differ in length; make them equal.")
        return
    count = max(len(texts), len(images))
    for text, image in zip(texts or [""] * count, images or [""] * count, strict=True):
        try:
            yield _entry(source, text.replace(IMAGE_MARKER, "").strip(), image, image_root)
        except Unreadable as reason:
            yield Failure(source, str(reason))


def _entry(source: str, text: str, image: str, image_root: Path) -> Entry:
    return make_entry(
        source,
        None,
        text=text or None,
        image=read_image(image_root / image, image) if image else None,
        metadata={"file": image} if image else {},
    )


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [str(entry or "") for entry in value] if isinstance(value, list) else []
