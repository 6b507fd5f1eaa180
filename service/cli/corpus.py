"""Reads what `solomon index add` is given: image files, folders of them, JSONL files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.cli.inputs import IMAGE_SUFFIXES, image_reference

_FIELDS = frozenset({"id", "text", "image", "metadata"})
_NOT_JSON = "holds NaN, an infinity or half of a surrogate pair, which JSON has not."


@dataclass(frozen=True, slots=True)
class Entry:
    """A document to send, and where it came from ("photos/a.jpg:" or "facts.jsonl:12:")."""

    source: str
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that could not be added, and why."""

    source: str
    reason: str


def read_corpus(paths: Sequence[Path]) -> Iterator[Entry | Failure]:
    """Every document under the paths, one at a time; what cannot be read is a `Failure` in its place."""
    for path in paths:
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file():
                    yield _image_entry(file)
        elif path.suffix.lower() in (".jsonl", ".ndjson"):
            yield from _read_jsonl(path)
        else:
            yield _image_entry(path)


def _image_entry(path: Path) -> Entry | Failure:
    source = f"{path}:"
    if not _can_be_sent(str(path)):
        return Failure(repr(source), "has a name that is not UTF-8; rename it.")
    try:
        image = image_reference(path)
    except OSError as error:
        return Failure(source, f"cannot be read ({error.strerror}).")
    return Entry(source, {"id": _document_id(path), "image": image, "metadata": {"file": path.name}})


def _document_id(path: Path) -> str:
    """The path as given; where it leads upwards, which an id may not, the absolute one."""
    return (path.resolve() if ".." in path.parts else path).as_posix()


def _read_jsonl(path: Path) -> Iterator[Entry | Failure]:
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _row_entry(path, f"{path}:{number}:", line)
    except OSError as error:
        yield Failure(f"{path}:", f"cannot be read ({error.strerror}).")


def _row_entry(path: Path, source: str, line: bytes) -> Entry | Failure:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Failure(source, f"is not JSON ({error}).")
    if not isinstance(row, dict):
        return Failure(source, "is not a JSON object.")
    unknown = sorted(row.keys() - _FIELDS)
    if unknown:
        return Failure(
            source, f"has unknown fields: {', '.join(unknown)}; there are {', '.join(sorted(_FIELDS))}."
        )
    if not _can_be_sent(row):
        return Failure(source, _NOT_JSON)
    image = row.get("image")
    if isinstance(image, str) and not image.startswith(("data:", "https:")):
        try:
            row["image"] = image_reference(path.parent / image)
        except (OSError, ValueError) as error:  # ValueError: the name holds a NUL
            return Failure(source, f"its image {image!r} cannot be read ({error}).")
    return Entry(source, row)


def _can_be_sent(value: Any) -> bool:
    """Whether a value is JSON in UTF-8: Python also reads NaN, and keeps broken names as lone surrogates."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        return False
    return True
