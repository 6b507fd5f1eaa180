"""`/collections/{name}/rebuild`: embed a collection's documents again with the served checkpoint.

A rebuild runs in the server, for as long as it takes; callers ask how far it has come. So it survives the
caller that began it, and no proxy has to keep a connection open for hours.
"""

from __future__ import annotations

import time
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Body, Response

from service import problems
from service.problems import Problem
from service.rebuilding import Rebuild, RebuildState
from service.routers import examples
from service.routers.collections import CollectionName
from service.routers.dependencies import ServicesDependency, documented
from service.schemas.rebuild import FailedDocumentBody, RebuildBody, RebuildRequest

router = APIRouter(tags=["collections"])


@router.post(
    "/collections/{name}/rebuild",
    summary="Embed a collection again",
    status_code=202,
    responses={
        200: {"model": RebuildBody, "description": "It is of the served checkpoint already."},
        **documented(404, 409, 422),
    },
)
async def begin_rebuild(
    name: CollectionName,
    services: ServicesDependency,
    response: Response,
    body: Annotated[RebuildRequest | None, Body(openapi_examples=examples.REBUILD)] = None,
) -> RebuildBody:
    """Begin a rebuild with the served checkpoint, go on with an unfinished one, or join the one that runs.

    The collection is replaced in one step at the end; until then it takes no writes (409) and answers
    searches by vector as before.
    """
    drop_failed = body is not None and body.drop_failed
    rebuild = await anyio.to_thread.run_sync(
        lambda: services.rebuilds.begin(name, drop_failed=drop_failed), limiter=services.store_threads
    )
    response.status_code = 200 if rebuild.state is RebuildState.DONE else 202
    return _body(rebuild)


@router.get("/collections/{name}/rebuild", summary="How far a rebuild is", responses=documented(404))
async def show_rebuild(name: CollectionName, services: ServicesDependency) -> RebuildBody:
    """The latest rebuild of a collection since the server was started."""
    return _body(_found(services.rebuilds.find(name), name))


@router.delete("/collections/{name}/rebuild", summary="Stop a rebuild", responses=documented(404))
async def stop_rebuild(name: CollectionName, services: ServicesDependency) -> RebuildBody:
    """Stop a rebuild; what it has done is kept, and the collection is as it was."""
    return _body(_found(await anyio.to_thread.run_sync(services.rebuilds.stop, name), name))


def _found(rebuild: Rebuild | None, name: str) -> Rebuild:
    if rebuild is None:
        detail = f"No rebuild of {name!r} was begun since the server was started. POST begins one."
        raise Problem(problems.NOT_FOUND, detail)
    return rebuild


def _body(rebuild: Rebuild) -> RebuildBody:
    progress = rebuild.progress
    seconds = rebuild.seconds if rebuild.seconds is not None else time.monotonic() - rebuild.started
    return RebuildBody(
        collection=rebuild.collection,
        state=rebuild.state,
        made_by=rebuild.made_by,
        model=rebuild.model,
        total=progress.total,
        done=progress.done,
        resumed=progress.resumed,
        failed=progress.failed,
        failures=[FailedDocumentBody(id=name, reason=reason) for name, reason in list(progress.failures)],
        reason=rebuild.reason,
        seconds=round(seconds, 3),
    )
