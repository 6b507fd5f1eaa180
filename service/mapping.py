"""Domain errors of the model and the index, told as problems that name the request's own field."""

from __future__ import annotations

import math

from index.types import (
    CollectionExists,
    CollectionHeld,
    DamagedLog,
    InvalidInput,
    OtherModel,
    StorageError,
    StoreError,
    StoreUnreachable,
    UnknownCollection,
    UnknownDocument,
    UnusableCollection,
)
from model.errors import (
    DeadlineExceeded,
    EngineStopped,
    ImageTooLarge,
    InputError,
    NotAnImage,
    QueueFull,
    SolomonError,
    TooLong,
)
from service import problems
from service.problems import FieldError, Problem, ProblemType, field_problem

_ITEM_FIELDS = frozenset({"text", "image"})


def _input_kind(error: InputError) -> ProblemType:
    if isinstance(error, ImageTooLarge):
        return problems.IMAGE_TOO_LARGE
    if isinstance(error, NotAnImage):
        return problems.NOT_AN_IMAGE
    return problems.TOO_LONG if isinstance(error, TooLong) else problems.INVALID_INPUT


def item_problem(error: InputError, item: str, bare: bool = False) -> Problem:
    """Place an engine's `InputError` at an item's address in the request ("input[3]", "query").

    Fields of the item ("image") are put below that address unless it is a `bare` string, options ("route")
    keep their own name.
    """
    part = error.field.partition(".")[0]
    if part in ("", "item") or (bare and part in _ITEM_FIELDS):
        field = item
    else:
        field = f"{item}.{error.field}" if part in _ITEM_FIELDS else error.field
    return field_problem(_input_kind(error), field, error.message, error.mend)


def retry_after(seconds: float) -> dict[str, str]:
    """The Retry-After header: whole seconds, at least one."""
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


def model_problem(error: SolomonError) -> Problem:
    """Tell an engine's error that no single item is to blame for."""
    if isinstance(error, InputError):
        return item_problem(error, "input")
    if isinstance(error, QueueFull):
        return Problem(problems.QUEUE_FULL, str(error), headers=retry_after(error.retry_after))
    if isinstance(error, DeadlineExceeded):
        detail = "The deadline passed before every item was embedded. Send fewer items or try again later."
        return Problem(problems.DEADLINE, detail)
    if isinstance(error, EngineStopped):
        return Problem(problems.NOT_READY, "The model has stopped. Try again later.", headers=retry_after(5))
    return Problem(problems.INTERNAL, "The model failed. The log names the cause under this request's id.")


def store_problem(error: StoreError) -> Problem:
    """Tell an error of the index."""
    if isinstance(error, UnknownCollection):
        message, mend = _sentence(error), "PUT /collections/{name} makes one; GET /collections lists them."
        fault = FieldError("name", message, mend)
        return Problem(problems.UNKNOWN_COLLECTION, f"{message} {mend}", (fault,))
    if isinstance(error, UnknownDocument):
        return Problem(problems.UNKNOWN_DOCUMENT, _sentence(error))
    if isinstance(error, CollectionExists | OtherModel):
        return Problem(problems.OTHER_MODEL, _sentence(error))
    if isinstance(error, CollectionHeld):
        return Problem(problems.REBUILDING, _sentence(error), headers=retry_after(30))
    if isinstance(error, InvalidInput):
        message = error.message.removeprefix(f"{error.field} ")  # the problem names the field by itself
        return field_problem(problems.INVALID_INPUT, error.field, message, error.mend)
    if isinstance(error, StoreUnreachable):
        return Problem(problems.STORE_UNREACHABLE, _sentence(error), headers=retry_after(5))
    if isinstance(error, DamagedLog | UnusableCollection):
        return Problem(problems.UNUSABLE, _sentence(error))
    if isinstance(error, StorageError):
        return Problem(problems.STORAGE, f"{_sentence(error)} Nothing of this call was kept.")
    return Problem(problems.INTERNAL, "The index failed. The log names the cause under this request's id.")


def _sentence(error: Exception) -> str:
    text = str(error).strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."
