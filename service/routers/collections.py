"""`/collections`: make, list, show and drop."""

from __future__ import annotations

from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Body, Path, Response

from index.types import CollectionInfo, UnknownCollection
from service.routers import examples
from service.routers.dependencies import ServicesDependency, documented
from service.runtime import Services
from service.schemas.collections import CollectionBody, CollectionRequest, CollectionsResponse
from service.vector_space import check_same_space, vector_space

router = APIRouter(tags=["collections"])

CollectionName = Annotated[str, Path(description="The collection's name.")]


def collection_body(info: CollectionInfo) -> CollectionBody:
    """A collection as the API shows it."""
    return CollectionBody(
        name=info.name,
        count=info.count,
        dimensions=info.dimensions,
        index_kind=info.index_kind,
        model=info.model,
        recall=info.recall,
        lost=info.lost,
        damage=info.damage,
    )


def _make(services: Services, name: str) -> tuple[CollectionInfo, bool]:
    """The collection, and whether this call made it."""
    backend, info = services.backend, services.backend.embedder.info
    services.rebuilds.check_writable(name)
    try:
        check_same_space(backend.store.get(name), info)
        existed = True
    except UnknownCollection:
        existed = False
    return backend.store.create(name, info.dimensions, vector_space(info)), not existed


@router.get("/collections", summary="List collections", responses=documented())
async def list_collections(services: ServicesDependency) -> CollectionsResponse:
    """Every collection, by name."""
    found = await anyio.to_thread.run_sync(services.backend.store.list, limiter=services.store_threads)
    return CollectionsResponse(collections=[collection_body(info) for info in found])


@router.put(
    "/collections/{name}",
    summary="Make a collection",
    status_code=201,
    responses={200: {"model": CollectionBody, "description": "It existed."}, **documented(409, 422, 507)},
)
async def make_collection(
    name: CollectionName,
    services: ServicesDependency,
    response: Response,
    body: Annotated[CollectionRequest | None, Body(openapi_examples=examples.COLLECTION)] = None,
) -> CollectionBody:
    """Make a collection for the served model's vectors, or return it if it exists (200)."""
    info, made = await anyio.to_thread.run_sync(_make, services, name, limiter=services.store_threads)
    response.status_code = 201 if made else 200
    return collection_body(info)


@router.get("/collections/{name}", summary="Show a collection", responses=documented(404))
async def show_collection(name: CollectionName, services: ServicesDependency) -> CollectionBody:
    """One collection."""
    store = services.backend.store
    return collection_body(await anyio.to_thread.run_sync(store.get, name, limiter=services.store_threads))


@router.delete(
    "/collections/{name}",
    summary="Drop a collection",
    status_code=204,
    response_class=Response,  # no body, and so no Content-Type
    responses=documented(404, 409, 507),
)
async def drop_collection(name: CollectionName, services: ServicesDependency) -> None:
    """Remove a collection and all its documents from disk."""
    store = services.backend.store
    with services.rebuilds.writing(name):
        await anyio.to_thread.run_sync(store.drop, name, limiter=services.store_threads)
