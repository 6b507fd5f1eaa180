"""What handlers are given: the runtime, the open services, and the documented errors."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, Request

from service import problems
from service.problems import field_problem
from service.runtime import Runtime, Services
from service.schemas.operations import ProblemBody


async def get_runtime(request: Request) -> Runtime:
    """The application's runtime."""
    runtime: Runtime = request.app.state.runtime
    return runtime


async def get_services(runtime: Annotated[Runtime, Depends(get_runtime)]) -> Services:
    """The open services; a 503 problem until they are."""
    return runtime.services


RuntimeDependency = Annotated[Runtime, Depends(get_runtime)]
ServicesDependency = Annotated[Services, Depends(get_services)]


def check_item_count(runtime: Runtime, field: str, count: int) -> None:
    """Raise a `Problem` if a call holds more items than the server takes."""
    limit = runtime.settings.max_items
    if count > limit:
        message = f"{count} items were sent, and a call takes {limit}."
        raise field_problem(problems.INVALID_INPUT, field, message, "Send them in several calls.")


def image_path(collection: str, document_id: str, media_type: str | None) -> str | None:
    """The path of a document's image on this server, None if it has none."""
    if media_type is None:
        return None
    return f"/collections/{quote(collection, safe='')}/documents/{quote(document_id, safe='')}/image"


_MEANINGS = {
    400: "The body is not valid JSON.",
    401: "An API key is needed.",
    403: "The API key lacks the scope that `detail` names, or the server does not answer to the host name.",
    404: "The collection, document or model does not exist.",
    408: "The body did not arrive in time.",
    409: "The collection was made by another model, or is being rebuilt.",
    413: "The body or an image is too large.",
    415: "What was given as an image is not one.",
    422: "A field is not valid; `errors` names it and the mend.",
    429: "The queue is full, or the API key calls too often; `Retry-After` says when to try again.",
    501: "The store does not keep its collections in files.",
    503: "The server is not ready.",
    504: "The answer was not ready in time.",
    507: "The disk refused the write; nothing was kept.",
}
_COMMON = (401, 403, 429, 503)
_EMBEDDING = (400, 401, 403, 408, 413, 415, 422, 429, 503, 504)


def documented(*statuses: int, embeds: bool = False) -> dict[int | str, dict[str, Any]]:
    """The error responses of a call for OpenAPI; with `embeds`, those of every call that embeds too."""
    wanted = sorted({*statuses, *(_EMBEDDING if embeds else _COMMON)})
    return {
        status: {
            "model": ProblemBody,
            "description": _MEANINGS[status],
        }
        for status in wanted
    }
