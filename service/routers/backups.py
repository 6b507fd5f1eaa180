"""`/collections/{name}/backup` and `…/verify`: collections as files, and whether the disk holds them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path as FilePath
from typing import Annotated, BinaryIO, TypeVar

import anyio.to_thread
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from index.types import CollectionExists, CollectionInfo, KeptInFiles, StorageError
from service import problems
from service.problems import Problem, field_problem
from service.routers.collections import CollectionName, collection_body
from service.routers.dependencies import ServicesDependency, documented
from service.runtime import Services
from service.schemas.backups import LossBody, VerificationBody
from service.schemas.collections import CollectionBody

MEDIA_TYPE = "application/vnd.sqlite3"
DIGEST_HEADER = "Repr-Digest"  # RFC 9530

_CHUNK = 2**20
_Answer = TypeVar("_Answer")

router = APIRouter(tags=["collections"])


@router.get(
    "/collections/{name}/backup",
    summary="Back up a collection",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The collection as it is now, in one file. Repr-Digest has its SHA-256.",
            "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        },
        **documented(404, 501, 507),
    },
)
async def back_up(name: CollectionName, services: ServicesDependency) -> StreamingResponse:
    """Read a collection as one file, while it is searched and written to.

    The server makes the file first, which takes as much free disk as the collection.
    """
    store = _store(services)
    file, size, digest = await _in_thread(services, lambda: _make_backup(store, name))
    headers = {
        "Content-Length": str(size),
        DIGEST_HEADER: _digest_field(digest),
        "Content-Disposition": f'attachment; filename="{name}.solomon-backup"',
    }
    return StreamingResponse(_chunks(file), media_type=MEDIA_TYPE, headers=headers)


@router.put(
    "/collections/{name}/backup",
    summary="Restore a collection",
    status_code=201,
    responses={
        200: {"model": CollectionBody, "description": "It replaced a collection."},
        **documented(409, 413, 422, 501, 507),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "The file that GET gave. `curl -T photos.solomon-backup -H 'Content-Type: "
            f"{MEDIA_TYPE}' ADDRESS/collections/photos/backup` sends it.",
            "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def restore(
    name: CollectionName,
    services: ServicesDependency,
    request: Request,
    response: Response,
    replace: Annotated[bool, Query(description="Replace the collection of that name.")] = False,
) -> CollectionBody:
    """Make a collection of a backup's file; it is there whole, or not at all.

    Every document is checked. With the header Repr-Digest (sha-256), so is what arrives.
    """
    store = _store(services)
    with services.rebuilds.writing(name):
        existed = any(info.name == name for info in await _listed(services))
        if existed and not replace:
            raise _exists(name)
        upload = store.staged_file()
        try:
            await _receive(request, upload)
            info = await _in_thread(services, lambda: _restore(store, upload, name, replace))
        finally:
            upload.unlink(missing_ok=True)
    response.status_code = 200 if existed else 201
    return collection_body(info)


@router.post("/collections/{name}/verify", summary="Verify a collection", responses=documented(404, 501, 507))
async def verify(
    name: CollectionName,
    services: ServicesDependency,
    repair: Annotated[bool, Query(description="Salvage what is sound, if anything is damaged.")] = False,
) -> VerificationBody:
    """Read all that the disk holds of a collection, while it is searched and written to."""
    store = _store(services)
    found = await _in_thread(services, lambda: store.verify(name, repair=repair))
    losses = [
        LossBody(id=loss.id, reason=loss.reason, noticed=loss.noticed, documents=loss.documents)
        for loss in found.losses
    ]
    return VerificationBody(
        name=found.name, documents=found.documents, damage=list(found.damage), losses=losses
    )


def _store(services: Services) -> KeptInFiles:
    store = services.backend.store
    if not isinstance(store, KeptInFiles):
        detail = (
            "This server's collections are in a database of its own; use that database's backups, or "
            "`solomon index copy`."
        )
        raise Problem(problems.NOT_IN_FILES, detail)
    return store


async def _in_thread(services: Services, call: Callable[[], _Answer]) -> _Answer:
    # These take minutes; searches keep threads of their own.
    return await anyio.to_thread.run_sync(call, limiter=services.file_threads)


async def _listed(services: Services) -> Sequence[CollectionInfo]:
    return await anyio.to_thread.run_sync(services.backend.store.list, limiter=services.store_threads)


def _make_backup(store: KeptInFiles, name: str) -> tuple[BinaryIO, int, bytes]:
    """A backup's open file, which has no name any more, so that it goes when it is closed; size, SHA-256."""
    path = store.staged_file()
    store.backup(name, path)
    file = open(path, "rb")  # noqa: SIM115 - whoever sends it closes it
    try:
        path.unlink()
        digest = hashlib.file_digest(file, "sha256").digest()
        size = file.tell()
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file, size, digest


async def _chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    try:
        while chunk := await anyio.to_thread.run_sync(file.read, _CHUNK):
            yield chunk
    finally:
        file.close()


async def _receive(request: Request, target: FilePath) -> None:
    """Write a body to a file. Raises a `Problem` if it is not what its digest says, `StorageError`."""
    digest = hashlib.sha256()
    try:
        with open(target, "wb") as file:
            async for chunk in request.stream():
                digest.update(chunk)
                await anyio.to_thread.run_sync(file.write, chunk)
    except OSError as error:
        raise StorageError(f"The backup could not be received: {error.strerror or error}.") from error
    stated = request.headers.get(DIGEST_HEADER, "")
    if "sha-256=" in stated and _digest_field(digest.digest()) not in stated:
        message = "It is not what its Repr-Digest says."
        raise field_problem(problems.INVALID_INPUT, "backup", message, "Send it again.")


def _digest_field(digest: bytes) -> str:
    return f"sha-256=:{base64.b64encode(digest).decode()}:"


def _restore(store: KeptInFiles, upload: FilePath, name: str, replace: bool) -> CollectionInfo:
    try:
        return store.restore(upload, name, replace=replace)
    except CollectionExists as error:
        raise _exists(name) from error


def _exists(name: str) -> Problem:
    detail = f"The collection {name!r} exists. Restore under another name, or with replace=true."
    return Problem(problems.COLLECTION_EXISTS, detail)
