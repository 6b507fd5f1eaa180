"""What the index accepts: names, ids, texts, metadata, vectors and k, checked before anything is written."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any

import numpy as np
import numpy.typing as npt

from index.types import InvalidInput, NewDocument, OtherModel, Vectors

_IMAGE = re.compile(r"image/[a-z0-9][a-z0-9.+-]{0,63}")
MAX_K = 1000
MAX_DIMENSIONS = 65_536
MAX_ID_CHARACTERS = 512
MAX_METADATA_BYTES = 16 * 1024
MAX_METADATA_KEY_CHARACTERS = 128
OPERATOR_PREFIX = "$"  # reserved at the start of a metadata key: filters combine with $and, $or, $not

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_BREAKING = frozenset({"Cc", "Zl", "Zp"})  # Unicode's controls, line and paragraph separators
_SCALED_AT_ONCE = 128  # in the cache of a core, as float64 too
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_SAFE_SQUARES = (1e-200, 1e200)  # a sum of squares between them has lost nothing to the range of a float
_UNIT = 5e-7  # what the squares of a vector of float32 that was scaled to unit length are off by
_INT64 = range(-(2**63), 2**63)


def check_name(name: str) -> str:
    """Return a collection's name, the only text of a request that ever becomes a path."""
    if not isinstance(name, str) or not is_name(name):
        raise InvalidInput(
            "name",
            "That is no collection's name.",
            "Use 1 to 64 characters of a-z, 0-9, '-' and '_', beginning with a-z or 0-9.",
        )
    return name


def is_name(name: str) -> bool:
    """Whether a collection could have this name."""
    return _NAME.fullmatch(name) is not None


def check_dimensions(dimensions: int) -> int:
    """Return the length that a collection's vectors have."""
    if not _is_int(dimensions) or not 1 <= dimensions <= MAX_DIMENSIONS:
        raise InvalidInput(
            "dimensions",
            f"dimensions must be a whole number from 1 to {MAX_DIMENSIONS}.",
            "Send such a number.",
        )
    return dimensions


def check_k(k: int) -> int:
    """Return how many neighbours are asked for."""
    if not _is_int(k) or not 1 <= k <= MAX_K:
        raise InvalidInput("k", f"k must be a whole number from 1 to {MAX_K}.", "Send such a number.")
    return k


def check_model(name: str, made_by: str, model: str | None) -> None:
    """Refuse vectors of a model, if it is given, for a collection that another one made."""
    if model not in (None, made_by):
        raise OtherModel(
            f"The collection {name!r} is of the model {made_by!r}, and the vectors of {model!r}."
        )


def check_documents(documents: Sequence[NewDocument], dimensions: int) -> tuple[Vectors, Sequence[str]]:
    """Check documents of one upsert; return their unit vectors [N, D] and their metadata as JSON.

    Raises `InvalidInput` that names the offending part, such as `documents[3].vector`.
    """
    encoded = []
    for position, document in enumerate(documents):
        address = f"documents[{position}]"
        encoded.append(check_fields(document.id, document.text, document.metadata, address))
        if document.image is not None:
            check_media_type(document.image.media_type, f"{address}.image")
    return _unit_vectors([document.vector for document in documents], dimensions), encoded


def check_fields(document_id: str, text: str | None, metadata: Mapping[str, Any], address: str) -> str:
    """Check what needs no vector, before the work of making one; return the metadata as JSON.

    Raises `InvalidInput` that names the part below `address`, such as `documents[3]`.
    """
    _check_id(document_id, f"{address}.id")
    if text is not None:
        check_text(text, f"{address}.text")
    return encode_metadata(metadata, f"{address}.metadata")


def check_media_type(media_type: str, field: str) -> str:
    """Return an image's media type: "image/png" and its like, in small letters."""
    check_text(media_type, field)
    if not _IMAGE.fullmatch(media_type):
        message = f"{field} is called {media_type[:100]!r}, which is no image."
        raise InvalidInput(field, message, "Say image/png, for one.")
    return media_type


def unit_vector(vector: npt.ArrayLike, dimensions: int, field: str = "vector") -> Vectors:
    """Return a vector scaled to unit length, [D] float32."""
    if isinstance(vector, np.ndarray) and vector.dtype == np.float32 and vector.shape == (dimensions,):
        with np.errstate(over="ignore", invalid="ignore"):
            squares = float(np.dot(vector, vector))
        if abs(squares - 1.0) < _UNIT:  # as models give them
            return vector.copy()
    try:
        wide = np.asarray(vector, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            field, f"{field} must be a list of {dimensions} numbers.", f"Send {dimensions} numbers."
        ) from error
    if wide.shape != (dimensions,):
        given = f"{wide.shape[0]} numbers" if wide.ndim == 1 else f"the shape {list(wide.shape)}"
        raise InvalidInput(
            field,
            f"{field} must have {dimensions} numbers, as the collection has; it has {given}.",
            f"Send {dimensions} numbers.",
        )
    squares = float(np.dot(wide, wide))
    if _SAFE_SQUARES[0] < squares < _SAFE_SQUARES[1]:
        return np.asarray(wide / math.sqrt(squares), np.float32)
    largest = float(np.max(np.abs(wide)))
    if not math.isfinite(largest):
        raise InvalidInput(
            field, f"{field} must hold finite numbers only, no NaN and no infinity.", "Send finite numbers."
        )
    if largest == 0.0:
        raise InvalidInput(
            field, f"{field} has length zero, so it has no direction to compare.", "Send another vector."
        )
    scaled = wide / largest  # squares of very large or small numbers would leave the range of a float
    return (scaled / np.sqrt(np.sum(scaled * scaled))).astype(np.float32)


def _unit_vectors(vectors: Sequence[npt.ArrayLike], dimensions: int) -> Vectors:
    """Vectors scaled to unit length, [N, D]; many at a time, which takes half the time of one by one."""
    found = np.empty((len(vectors), dimensions), np.float32)
    for start in range(0, len(vectors), _SCALED_AT_ONCE):
        part = vectors[start : start + _SCALED_AT_ONCE]
        wide = _as_rows(part, dimensions)
        with np.errstate(over="ignore", invalid="ignore"):  # such vectors are looked at one by one
            squares = np.add.reduce(wide * wide, axis=1, keepdims=True)
        if len(wide) == len(part) and np.all((squares > _SAFE_SQUARES[0]) & (squares < _SAFE_SQUARES[1])):
            np.divide(wide, np.sqrt(squares), out=found[start : start + len(part)], casting="same_kind")
        else:  # one of them is at fault, or out of the common: find out which
            for position, vector in enumerate(part, start):
                found[position] = unit_vector(vector, dimensions, f"documents[{position}].vector")
    return found


def _as_rows(vectors: Sequence[npt.ArrayLike], dimensions: int) -> npt.NDArray[np.float64]:
    """Vectors as [N, D]; none where not all are numbers of that length."""
    try:
        given = np.array(vectors)  # joined as they are and widened at once: each by itself takes far longer
    except (TypeError, ValueError):
        return np.empty((0, dimensions))
    if given.shape != (len(vectors), dimensions) or given.dtype.kind not in "fiu":
        return np.empty((0, dimensions))
    return given.astype(np.float64)


def encode_metadata(metadata: Mapping[str, Any], field: str = "metadata") -> str:
    """Return metadata as JSON text: a flat object of scalars and lists of scalars, at most 16 KiB."""
    if not isinstance(metadata, Mapping):
        raise InvalidInput(
            field, f"{field} must be an object of names and values.", 'Send {"kind": "emoji"}, for one.'
        )
    parts = []
    for key, value in metadata.items():
        name = _encoded_key(key) if type(key) is str and len(key) <= MAX_METADATA_KEY_CHARACTERS else None
        if name is None:
            _check_metadata_key(key, field)
            name = f"{encode_basestring(key)}:"
        kind = type(value)
        if kind is str and value.isascii():  # most values are such, or whole numbers: soon told and encoded
            parts.append(f"{name}{encode_basestring(value)}")
        elif kind is int and value in _INT64:
            parts.append(f"{name}{value}")
        else:
            for item in value if isinstance(value, list | tuple) else (value,):
                _check_scalar(item, f"{field}.{key}")
            parts.append(f"{name}{_JSON.encode(value)}")
    encoded = f"{{{','.join(parts)}}}"
    if len(encoded) > MAX_METADATA_BYTES // 4 and len(encoded.encode()) > MAX_METADATA_BYTES:
        raise InvalidInput(
            field, f"{field} takes more than {MAX_METADATA_BYTES} bytes as JSON.", "Shorten it."
        )
    return encoded


def check_text(text: str, field: str) -> str:
    """Return a text that can be stored: a lone surrogate, which JSON lets through, is refused."""
    if not isinstance(text, str):
        raise InvalidInput(field, f"{field} must be a string.", "Send a string.")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            field,
            f"{field} holds half of a surrogate pair, which is not a character.",
            "Send well-formed Unicode text.",
        ) from error
    return text


def _check_id(document_id: str, field: str) -> None:
    if not isinstance(document_id, str) or not 1 <= len(document_id) <= MAX_ID_CHARACTERS:
        raise InvalidInput(
            field, f"{field} must be a string of 1 to {MAX_ID_CHARACTERS} characters.", "Send such a string."
        )
    check_text(document_id, field)
    plain = document_id.isascii() and document_id.isprintable()  # which most ids are, and is soon told
    if not plain and any(unicodedata.category(character) in _BREAKING for character in document_id):
        raise InvalidInput(
            field, f"{field} must not hold control characters or line breaks.", "Leave them out."
        )
    if document_id[0] != "." and "/" not in document_id and "\\" not in document_id:
        return
    segments = document_id.replace("\\", "/").split("/")
    if "." in segments or ".." in segments or document_id.endswith("/image"):
        # An id stands in a URL's path. Clients resolve "." and "..", so that deleting the document ".."
        # would reach the collection itself; ".../image" is the address of another document's picture.
        raise InvalidInput(
            field, f"{field} must not hold '.' or '..' as a path segment, nor end in '/image'.", "Rename it."
        )


@lru_cache(maxsize=4096)
def _encoded_key(key: str) -> str | None:
    """How JSON begins a member of this name; None if it is refused. Documents share their names."""
    try:
        _check_metadata_key(key, "")
    except InvalidInput:
        return None
    return f"{encode_basestring(key)}:"


def _check_metadata_key(key: object, field: str) -> None:
    if not isinstance(key, str) or not 1 <= len(key) <= MAX_METADATA_KEY_CHARACTERS:
        raise InvalidInput(
            field,
            f"A name in {field} must have 1 to {MAX_METADATA_KEY_CHARACTERS} characters.",
            "Use a shorter one, or one that is not empty.",
        )
    check_text(key, field)
    if key.startswith(OPERATOR_PREFIX):
        raise InvalidInput(
            f"{field}.{key}", f"A name in {field} must not begin with '{OPERATOR_PREFIX}'.", "Rename it."
        )


def _check_scalar(value: Any, field: str) -> None:
    match value:
        case None | bool():
            return
        case str():
            check_text(value, field)
        case int():
            if value not in _INT64:
                raise InvalidInput(
                    field, f"{field} is a whole number that does not fit in 64 bits.", "Send it as a string."
                )
        case float():
            if not math.isfinite(value):
                raise InvalidInput(
                    field, f"{field} must be a finite number.", "Send a finite number, or null."
                )
        case _:
            raise InvalidInput(
                field,
                f"{field} must be a string, number, true, false, null, or a list of these.",
                "Send one of these.",
            )


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
