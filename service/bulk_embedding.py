"""Documents to vectors in bulk, behind every query; a bad one does not stop the others."""

from __future__ import annotations

from collections.abc import Sequence

from model.errors import InputError
from model.types import Embedder, EmbedOptions, InputType, Item, Vector

# Larger runs later: queries are answered before documents that wait.
DOCUMENT_PRIORITY = 10
_OPTIONS = EmbedOptions(input_type=InputType.DOCUMENT, priority=DOCUMENT_PRIORITY)


def embed_documents(embedder: Embedder, items: Sequence[Item]) -> list[Vector | InputError]:
    """A unit vector [D] for each item, or why it cannot be embedded; blocks while the queue is full.

    Raises `EngineStopped` and what else no item is to blame for.
    """
    try:
        return [embedding.vector for embedding in embedder.embed(items, _OPTIONS)]
    except InputError:
        return [_embed_alone(embedder, item) for item in items]


def _embed_alone(embedder: Embedder, item: Item) -> Vector | InputError:
    try:
        return embedder.embed([item], _OPTIONS)[0].vector
    except InputError as error:
        return error
