"""Which model a collection's vectors belong to: vectors of different models must never be compared."""

from __future__ import annotations

from index.types import CollectionInfo, CollectionSpace
from model.types import EngineInfo
from service import problems
from service.problems import FieldError, Problem


def vector_space(info: EngineInfo) -> str:
    """The name that is stored with a collection: the model's, and the checkpoint's hash in short."""
    return f"{info.model}@{info.checkpoint_sha256[:12]}"


def check_same_space(
    collection: CollectionInfo | CollectionSpace, info: EngineInfo, field: str = "name"
) -> None:
    """Raise a `Problem` (409) if the collection was made by another model than the one served.

    `field` is what the call names the collection by.
    """
    if collection.model == vector_space(info) and collection.dimensions == info.dimensions:
        return
    message = (
        f"Collection {collection.name!r} was made by {collection.model}, and this server has "
        f"{vector_space(info)}; their vectors cannot be compared."
    )
    mend = (
        f"Embed its documents again with `solomon index rebuild {collection.name}` "
        f"(POST /collections/{collection.name}/rebuild), or serve the checkpoint that made it."
    )
    raise Problem(problems.OTHER_MODEL, f"{message} {mend}", (FieldError(field, message, mend),))


def check_made_by(collection: CollectionInfo | CollectionSpace, model: str) -> None:
    """Raise a `Problem` (409) if vectors of the checkpoint `model` do not belong into the collection."""
    if collection.model == model:
        return
    message = (
        f"The vectors were made by {model}, and those of collection {collection.name!r} by "
        f"{collection.model}; they cannot be compared."
    )
    mend = "Make the vectors with that checkpoint, or add the documents without vectors."
    raise Problem(problems.OTHER_MODEL, f"{message} {mend}", (FieldError("model", message, mend),))
