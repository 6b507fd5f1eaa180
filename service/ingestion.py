"""Documents to a collection: embedded behind the queries, then written all together."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.to_thread

from index.types import CollectionSpace, Image, NewDocument, VectorStore
from index.validation import check_fields
from model.errors import InputError
from model.types import Embedder, EmbedOptions, InputType, Item, Vector
from service import problems
from service.bulk_embedding import DOCUMENT_PRIORITY
from service.embedding import EmbeddingService, RequestItem
from service.images import media_type
from service.mapping import item_problem
from service.problems import field_problem
from service.rebuilding import Rebuilds
from service.stored_content import missing_documents
from service.vector_space import check_made_by, check_same_space
from service.vectors import decode


@dataclass(frozen=True, slots=True)
class IncomingDocument:
    """A document as it was sent; without an id it is given one."""

    item: RequestItem
    id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    vector: Sequence[float] | str | None = None


class IngestionService:
    """Embeds documents and writes them to the store."""

    def __init__(
        self,
        embedder: Embedder,
        embedding: EmbeddingService,
        store: VectorStore,
        store_threads: anyio.CapacityLimiter,
        rebuilds: Rebuilds,
    ) -> None:
        self._embedder = embedder
        self._embedding = embedding
        self._store = store
        self._store_threads = store_threads
        self._rebuilds = rebuilds

    async def add(
        self,
        collection: str,
        documents: Sequence[IncomingDocument],
        deadline: float,
        made_by: str | None = None,
    ) -> list[str]:
        """Write documents and return their ids; when it returns, they are on disk and searchable.

        Documents with vectors are written as they are; `made_by` names the checkpoint of those. Raises
        what `EmbeddingService.embed` and `VectorStore.upsert` raise, and a `Problem` for an id that comes
        twice, a collection of another model or one that is being rebuilt, and a vector that is none.
        """
        self._rebuilds.check_writable(collection)
        ids = _assign_ids(documents)
        for document_id, document in zip(ids, documents, strict=True):
            check_fields(document_id, document.item.text, document.metadata, document.item.address)
        space = await self._space(collection, made_by)
        if made_by is None:
            vectors, images = await self._embed([document.item for document in documents], deadline)
        else:
            vectors, images = await self._take(documents, space.dimensions, deadline)
        written = [
            NewDocument(document_id, vector, document.item.text, image, document.metadata)
            for document_id, document, vector, image in zip(ids, documents, vectors, images, strict=True)
        ]
        with self._rebuilds.writing(collection):
            await self._space(collection, made_by)  # it may have been rebuilt or restored meanwhile
            await anyio.to_thread.run_sync(  # and yet by another process, so the store looks as it writes
                self._store.upsert, collection, written, space.model, limiter=self._store_threads
            )
        return ids

    async def missing(self, collection: str, known: Mapping[str, str]) -> list[str]:
        """Which of the ids, given with fingerprints, the collection lacks or holds with other content."""
        return await anyio.to_thread.run_sync(
            missing_documents, self._store, collection, known, limiter=self._store_threads
        )

    async def _space(self, collection: str, made_by: str | None) -> CollectionSpace:
        """The collection's space. Raises a `Problem` unless that is `made_by`'s; None is the model's."""
        space = await anyio.to_thread.run_sync(self._store.space, collection, limiter=self._store_threads)
        if made_by is None:
            check_same_space(space, self._embedder.info)
        else:
            check_made_by(space, made_by)
        return space

    async def _embed(
        self, items: Sequence[RequestItem], deadline: float
    ) -> tuple[Sequence[Vector], Sequence[Image | None]]:
        options = EmbedOptions(input_type=InputType.DOCUMENT, priority=DOCUMENT_PRIORITY)
        with self._embedding.admit(len(items), options, deadline, bulk=True) as admission:
            resolved = await self._embedding.resolve(items, deadline)
            images = [_image(item, request.address) for item, request in zip(resolved, items, strict=True)]
            embeddings = await self._embedding.embed_resolved(items, resolved, options, deadline, admission)
        return [embedding.vector for embedding in embeddings], images

    async def _take(
        self, documents: Sequence[IncomingDocument], dimensions: int, deadline: float
    ) -> tuple[Sequence[Vector], Sequence[Image | None]]:
        """The vectors that were sent, checked, and the images; the model is not asked."""
        vectors = [
            decode(document.vector or "", dimensions, f"{document.item.address}.vector")
            for document in documents
        ]
        items = [document.item for document in documents]
        resolved = await self._embedding.resolve(items, deadline)
        return vectors, [_image(item, place.address) for item, place in zip(resolved, items, strict=True)]


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
