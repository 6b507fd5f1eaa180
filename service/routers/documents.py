"""`/collections/{name}/documents`: add, show and delete documents."""

from __future__ import annotations

import time
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Body, Path, Request, Response

from service.connection import while_connected
from service.embedding import RequestItem
from service.ingestion import IncomingDocument
from service.middleware.access_log import count
from service.routers import examples
from service.routers.collections import CollectionName
from service.routers.dependencies import (
    RuntimeDependency,
    ServicesDependency,
    check_item_count,
    documented,
    image_path,
)
from service.schemas.collections import (
    DocumentBody,
    DocumentsRequest,
    DocumentsResponse,
    MissingRequest,
    MissingResponse,
    NewDocumentBody,
)

router = APIRouter(tags=["documents"])

# An id may hold slashes, so the image's route stands before the document's, which would take it in.
DocumentId = Annotated[str, Path(description="The document's id.")]
# Image bytes come from callers: a browser that opens them may run nothing and load nothing.
_IMAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, no-cache",
}


def _incoming(body: NewDocumentBody, position: int) -> IncomingDocument:
    item = RequestItem(f"documents[{position}]", body.text, body.image)
    return IncomingDocument(item, body.id, body.metadata, body.vector)


@router.post(
    "/collections/{name}/documents",
    summary="Add documents",
    status_code=201,
    responses=documented(404, 409, 507, embeds=True),
)
async def add_documents(
    name: CollectionName,
    request: Request,
    runtime: RuntimeDependency,
    services: ServicesDependency,
    body: Annotated[DocumentsRequest, Body(openapi_examples=examples.DOCUMENTS)],
) -> DocumentsResponse:
    """Embed up to 256 documents and write them, all or none; an id that exists is replaced.

    Documents that were embedded elsewhere bring their vectors, and `model` says by which checkpoint. The
    answer comes when they are on disk and searchable.
    """
    check_item_count(runtime, "documents", len(body.documents))
    documents = [_incoming(document, position) for position, document in enumerate(body.documents)]
    deadline = time.monotonic() + runtime.settings.ingest_timeout_seconds
    ids = await while_connected(request, services.ingestion.add(name, documents, deadline, body.model))
    count(request.scope, documents=len(ids))
    return DocumentsResponse(ids=ids)


@router.post(
    "/collections/{name}/documents/missing",
    summary="Which documents a collection lacks",
    responses=documented(400, 404, 422),
)
async def missing_documents(
    name: CollectionName,
    services: ServicesDependency,
    body: Annotated[MissingRequest, Body(openapi_examples=examples.MISSING)],
) -> MissingResponse:
    """Of documents that the caller has: those that are not held, or held with another content.

    A bulk job asks this before it sends them, so that it can go on where it stopped.
    """
    known = {document.id: document.fingerprint for document in body.documents}
    return MissingResponse(missing=await services.ingestion.missing(name, known))


@router.get(
    "/collections/{name}/documents/{id:path}/image",
    summary="A document's image",
    response_class=Response,
    responses={200: {"content": {"image/*": {}}, "description": "As it was added."}, **documented(404)},
)
async def show_image(name: CollectionName, id: DocumentId, services: ServicesDependency) -> Response:
    """The image of a document, byte for byte as it was added."""
    store = services.backend.store
    image = await anyio.to_thread.run_sync(store.get_image, name, id, limiter=services.store_threads)
    return Response(image.data, media_type=image.media_type, headers=_IMAGE_HEADERS)


@router.get("/collections/{name}/documents/{id:path}", summary="Show a document", responses=documented(404))
async def show_document(name: CollectionName, id: DocumentId, services: ServicesDependency) -> DocumentBody:
    """One document."""
    store = services.backend.store
    document = await anyio.to_thread.run_sync(store.get_document, name, id, limiter=services.store_threads)
    return DocumentBody(
        id=document.id,
        text=document.text,
        image_url=image_path(name, document.id, document.image_media_type),
        metadata=dict(document.metadata),
    )


@router.delete(
    "/collections/{name}/documents/{id:path}",
    summary="Delete a document",
    status_code=204,
    response_class=Response,  # no body, and so no Content-Type
    responses=documented(404, 409, 507),
)
async def delete_document(name: CollectionName, id: DocumentId, services: ServicesDependency) -> None:
    """Remove a document; when the answer comes it is gone from disk and from search."""
    store = services.backend.store
    with services.rebuilds.writing(name):
        await anyio.to_thread.run_sync(store.delete_document, name, id, limiter=services.store_threads)
