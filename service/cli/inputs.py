"""What is embedded or searched for, as the command line is given it: arguments, standard input, files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from service.cli.exits import Exit, fail
from service.client.content import Item

_ADDRESSES = ("https://", "http://", "data:")
_PARTS = frozenset({"text", "image"})


@dataclass(frozen=True, slots=True)
class Given:
    """An item, and where it stands on the command line or in the input, for messages."""

    source: str
    item: Item


def one_item(text: str | None, image: str | None, source: str = "the item") -> Given:
    """An item of a text, an image (a file, or an address for the server), or both; ends where it is none."""
    if text is None and image is None:
        fail("Give a text, --image FILE, or both.", Exit.USAGE)
    if image is None or image.lower().startswith(_ADDRESSES):
        return Given(source, Item(text, image))
    if not Path(image).exists() or Path(image).is_dir():
        fail(f"{source}, image: there is no file {image!r}; give a file, or an https address.", Exit.USAGE)
    return Given(source, Item(text, Path(image)))


def several_items(texts: Sequence[str], image: str | None, *, jsonl: bool) -> list[Given]:
    """The items of a command: its texts, one text or none with an image, or what standard input holds.

    Standard input is read for the single text "-", a text a line, and for `jsonl`, an item a line.
    """
    if jsonl:
        if texts or image is not None:
            fail("--jsonl reads the items from standard input; leave out texts and --image.", Exit.USAGE)
        given = [_item_of_line(source, line) for source, line in _lines()]
    elif list(texts) == ["-"]:
        if image is not None:
            fail("--image goes with one text; --jsonl takes texts and images.", Exit.USAGE)
        given = [Given(source, Item(line)) for source, line in _lines()]
    elif len(texts) > 1:
        if image is not None:
            fail("--image goes with one text; --jsonl takes texts and images.", Exit.USAGE)
        given = [Given(f"text {number}", Item(text)) for number, text in enumerate(texts, 1)]
    else:
        given = [one_item(texts[0] if texts else None, image)]
    if not given:
        fail("Standard input holds no items; write one a line.", Exit.USAGE)
    return given


def body_of(given: Given) -> dict[str, str]:
    """An item as the API takes it, its image read; ends the command where that cannot be."""
    try:
        return given.item.body()
    except OSError as error:
        fail(f"{given.source}, image: {error.filename} cannot be read ({error.strerror}).", Exit.USAGE)
    except ValueError as error:
        fail(f"{given.source}, image: {error}", Exit.USAGE)


def read_vector(path: Path) -> list[float]:
    """The numbers of a file: a JSON array, or NumPy's .npy of one vector; ends where it holds none."""
    try:
        numbers = _from_numpy(path) if path.suffix == ".npy" else _from_json(path)
    except OSError as error:
        fail(f"--vector {path} cannot be read ({error.strerror or error}).", Exit.USAGE)
    except (ValueError, OverflowError) as error:
        fail(f"--vector {path}: {error}", Exit.USAGE)
    if not numbers or not all(map(math.isfinite, numbers)):
        fail(f"--vector {path}: a vector has numbers, all of them finite.", Exit.USAGE)
    return numbers


def _from_json(path: Path) -> list[float]:
    try:
        numbers = json.loads(path.read_bytes())
    except ValueError:
        raise ValueError("it is not JSON; write an array of numbers, or name NumPy's files .npy.") from None
    if not isinstance(numbers, list) or not all(type(number) in (int, float) for number in numbers):
        raise ValueError("it is no array of numbers; write [0.1, -0.2, ...].")
    return [float(number) for number in numbers]


def _from_numpy(path: Path) -> list[float]:
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError):
        raise ValueError("it is no .npy file of numbers; write it with numpy.save.") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise ValueError("it is no .npy file of numbers; write it with numpy.save.")
    if array.shape not in ((array.size,), (1, array.size)):
        raise ValueError(f"it holds an array of shape {array.shape}; save one vector.")
    numbers: list[float] = array.reshape(-1).astype(float).tolist()
    return numbers


def _lines() -> Iterator[tuple[str, str]]:
    """Each line of standard input that is not empty, behind its number."""
    try:
        for number, line in enumerate(typer.get_text_stream("stdin", encoding="utf-8"), 1):
            if line.strip():
                yield f"line {number}", line.rstrip("\r\n")
    except UnicodeDecodeError:
        fail("Standard input is not UTF-8; convert it.", Exit.USAGE)


def _item_of_line(source: str, line: str) -> Given:
    try:
        value: Any = json.loads(line)
    except ValueError:
        fail(f"{source} is not JSON; write a string, or an object of text and image.", Exit.USAGE)
    if isinstance(value, str):
        return Given(source, Item(value))
    if not isinstance(value, dict) or not any(value.values()) or value.keys() - _PARTS:
        fail(f"{source} is no item; write a string, or an object of text and image.", Exit.USAGE)
    for name, part in value.items():
        if part is not None and not isinstance(part, str):
            fail(f"{source}: {name} is no string.", Exit.USAGE)
    return one_item(value.get("text"), value.get("image"), source)
