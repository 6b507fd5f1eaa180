"""Rows of tables to documents: one rule for JSONL, CSV and Parquet.

`id`, `text`, `image` and `metadata` mean themselves; every other column becomes metadata under its own
name. Cells that are empty (null, not-a-number, or nothing between two commas) are left out. Dates and times
become ISO 8601 text, decimals and durations numbers (seconds).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from model.errors import InputError
from service.corpus.entries import Entry, Unreadable, make_entry
from service.images import decode_data_uri

COLUMNS = ("id", "text", "image", "metadata")
MAX_IMAGE_BYTES = 20 * 2**20  # the most that a server can be set to take


def entry_of_row(source: str, row: Mapping[str, Any], image_root: Path) -> Entry:
    """The document of a row; image paths are relative to `image_root`. Raises `Unreadable`."""
    image, url = _image(row.get("image"), image_root)
    return make_entry(
        source,
        _id(row.get("id")),
        text=_text(row.get("text")),
        image=image,
        image_url=url,
        metadata=_metadata(row),
    )


def read_image(path: Path, given: str) -> bytes:
    """An image file's bytes; `given` is how the corpus names it. Raises `Unreadable`."""
    try:
        if path.stat().st_size > MAX_IMAGE_BYTES:
            raise Unreadable(
                f"its image {given!r} is larger than {MAX_IMAGE_BYTES} bytes; send a smaller one."
            )
        return path.read_bytes()
    except OSError as error:
        raise Unreadable(f"its image {given!r} cannot be read ({error.strerror or error}).") from None
    except ValueError as error:  # the name holds a NUL
        raise Unreadable(f"its image {given!r} cannot be read ({error}).") from None


def _id(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise Unreadable("id: an id is a string or a whole number.")


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise Unreadable(f"text: a text is a string, not {type(value).__name__}.")


def _image(value: Any, root: Path) -> tuple[bytes | None, str | None]:
    """An image cell as bytes, or as the address of an image that the server fetches."""
    if isinstance(value, Mapping):  # as Hugging Face's datasets store images: {"bytes": ..., "path": ...}
        value = value.get("bytes") or value.get("path")
    if value is None or value == "":
        return None, None
    if isinstance(value, bytes):
        return value, None
    if not isinstance(value, str):
        raise Unreadable(f"image: an image is a path or bytes, not {type(value).__name__}.")
    if value.startswith("https:"):
        return None, value
    if value.startswith("data:"):
        try:
            return decode_data_uri(value, MAX_IMAGE_BYTES), None
        except InputError as error:
            raise Unreadable(f"image: {error}") from None
    return read_image(root / value, value), None


def _metadata(row: Mapping[str, Any]) -> dict[str, Any]:
    given = row.get("metadata")
    if isinstance(given, str):
        try:
            given = json.loads(given) if given else None
        except (ValueError, RecursionError) as error:
            raise Unreadable(f"metadata: is not JSON ({error}).") from None
    if given is not None and not isinstance(given, Mapping):
        raise Unreadable("metadata: must be an object of names and values.")
    metadata = dict(given or {})
    for name, value in row.items():
        if name in COLUMNS:
            continue
        plain = _plain(name, value)
        if plain is None:
            continue
        if name in metadata:
            raise Unreadable(f"metadata: {name!r} is given twice, as a column and in metadata.")
        metadata[name] = plain
    return metadata


def _plain(name: str, value: Any) -> Any:
    """A cell as JSON has it; None for one that is left out."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, list):
        return [_plain(name, part) for part in value]
    if isinstance(value, bytes):
        raise Unreadable(f"metadata: the column {name!r} holds bytes; leave it out or name it 'image'.")
    return value
