"""`POST /search`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Request

from index.types import Hit
from model.types import EmbedOptions
from service.connection import while_connected
from service.middleware.access_log import count
from service.routers import examples
from service.routers.dependencies import (
    RuntimeDependency,
    ServicesDependency,
    documented,
    image_path,
)
from service.routers.embedding_log import log_embeddings
from service.routers.request_items import request_item
from service.schemas.search import ResultBody, SearchLatency, SearchRequest, SearchResponse
from service.searching import SearchAnswer, SearchQuestion

router = APIRouter(tags=["search"])


def _question(body: SearchRequest) -> SearchQuestion:
    item = None
    if body.query is not None:
        item = request_item(body.query, "query")
    return SearchQuestion(body.collection, body.k, body.filter, item, body.vector)


def _result(collection: str, hit: Hit) -> ResultBody:
    document = hit.document
    return ResultBody(
        id=document.id,
        score=hit.score,
        text=document.text,
        image_url=image_path(collection, document.id, document.image_media_type),
        metadata=dict(document.metadata),
    )


def _response(collection: str, answer: SearchAnswer) -> SearchResponse:
    embedding = answer.embedding
    return SearchResponse(
        results=[_result(collection, hit) for hit in answer.hits],
        route=embedding.route if embedding else None,
        confidence=embedding.confidence if embedding else None,
        augmentation=embedding.augmentation if embedding else None,
        latency_ms=SearchLatency(
            queue=round(embedding.queue_seconds * 1000, 3) if embedding else 0.0,
            embed=round(answer.embed_seconds * 1000, 3),
            index=round(answer.index_seconds * 1000, 3),
            total=round(answer.total_seconds * 1000, 3),
        ),
    )


@router.post("/search", summary="Search a collection", responses=documented(404, 409, embeds=True))
async def search(
    request: Request,
    runtime: RuntimeDependency,
    services: ServicesDependency,
    body: Annotated[SearchRequest, Body(openapi_examples=examples.SEARCH)],
) -> SearchResponse:
    """Find the documents nearest to a query, or to a vector, best first."""
    options = EmbedOptions(
        instruction=body.instruction,
        route=body.route,
        augment_threshold=body.augment_threshold,
        max_augment_tokens=body.max_augment_tokens,
    )
    question = _question(body)
    work = services.search.search(question, options, runtime.query_deadline())
    answer = await while_connected(request, work)
    count(request.scope, results=len(answer.hits), index_ms=round(answer.index_seconds * 1000, 2))
    if answer.embedding is not None and question.item is not None:
        log_embeddings(request, runtime, [question.item], [answer.embedding])
    return _response(body.collection, answer)
