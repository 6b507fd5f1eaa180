"""Documents to a collection: embedded behind the queries, then written all together."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.to_thread

from index.types import Image, NewDocument, VectorStore
from index.validation import check_fields
from model.errors import InputError
from model.types import Embedder, EmbedOptions, InputType, Item
from service import problems
from service.embedding import EmbeddingService, RequestItem
from service.images import media_type
from service.mapping import item_problem
from service.problems import field_problem
from service.vector_space import check_same_space

# Larger runs later: queries are answered before documents that wait.
DOCUMENT_PRIORITY = 10


@dataclass(frozen=True, slots=True)
class IncomingDocument:
    """A document as it was sent; without an id it is given one."""

    item: RequestItem
    id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


class IngestionService:
    """Embeds documents and writes them to the store."""

    def __init__(
        self,
        embedder: Embedder,
        embedding: EmbeddingService,
        store: VectorStore,
        store_threads: anyio.CapacityLimiter,
    ) -> None:
        self._embedder = embedder
        self._embedding = embedding
        self._store = store
        self._store_threads = store_threads

    async def add(self, collection: str, documents: Sequence[IncomingDocument], deadline: float) -> list[str]:
        """Write documents and return their ids; when it returns, they are on disk and searchable.

        Raises what `EmbeddingService.embed` and `VectorStore.upsert` raise, and a `Problem` for an id
        that comes twice or a collection of another model.
        """
        ids = _assign_ids(documents)
        for document_id, document in zip(ids, documents, strict=True):
            check_fields(document_id, document.item.text, document.metadata, document.item.address)
        info = await anyio.to_thread.run_sync(self._store.get, collection, limiter=self._store_threads)
        check_same_space(info, self._embedder.info)
        items = [document.item for document in documents]
        options = EmbedOptions(input_type=InputType.DOCUMENT, priority=DOCUMENT_PRIORITY)
        with self._embedding.admit(len(items)) as admission:
            resolved = await self._embedding.resolve(items, deadline)
            images = [_image(item, request.address) for item, request in zip(resolved, items, strict=True)]
            embeddings = await self._embedding.embed_resolved(items, resolved, options, deadline, admission)
        written = [
            NewDocument(
                id=document_id,
                vector=embedding.vector,
                text=document.item.text,
                image=image,
                metadata=document.metadata,
            )
            for document_id, document, embedding, image in zip(
                ids, documents, embeddings, images, strict=True
            )
        ]
        await anyio.to_thread.run_sync(self._store.upsert, collection, written, limiter=self._store_threads)
        return ids


def _assign_ids(documents: Sequence[IncomingDocument]) -> list[str]:
    first_use: dict[str, int] = {}
    ids = []
    for position, document in enumerate(documents):
        document_id = document.id if document.id is not None else uuid.uuid4().hex
        if document_id in first_use:
            message = f"The id is already used by documents[{first_use[document_id]}]."
            mend = "Give each document of a call its own id."
            raise field_problem(problems.INVALID_INPUT, f"documents[{position}].id", message, mend)
        first_use[document_id] = position
        ids.append(document_id)
    return ids


def _image(item: Item, address: str) -> Image | None:
    if item.image is None:
        return None
    try:
        return Image(item.image, media_type(item.image))
    except InputError as error:
        raise item_problem(error, address) from None
