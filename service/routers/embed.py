"""`POST /embed`."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Body, Request

from model.types import EmbedOptions, InputType
from service.connection import while_connected
from service.routers import examples
from service.routers.dependencies import (
    RuntimeDependency,
    ServicesDependency,
    check_item_count,
    documented,
)
from service.routers.embedding_log import log_embeddings
from service.routers.request_items import request_items
from service.runtime import Runtime, Services
from service.schemas.embed import EmbeddingBody, EmbedRequest, EmbedResponse, EmbedUsage
from service.schemas.tei import AnyEmbedRequest, TeiEmbedRequest
from service.vectors import check_dimensions, encode, shorten

router = APIRouter(tags=["embed"])


def options_of(body: EmbedRequest) -> EmbedOptions:
    """The engine's options as the body states them."""
    return EmbedOptions(
        input_type=body.input_type,
        instruction=body.instruction,
        route=body.route,
        augment_threshold=body.augment_threshold,
        max_augment_tokens=body.max_augment_tokens,
        truncate=body.truncate,
        priority=0 if body.input_type is InputType.QUERY else 1,
    )


@router.post("/embed", summary="Embed items", responses=documented(embeds=True))
async def embed(
    request: Request,
    runtime: RuntimeDependency,
    services: ServicesDependency,
    body: Annotated[AnyEmbedRequest, Body(openapi_examples=examples.EMBED)],
) -> EmbedResponse | list[list[float]]:
    """Embed up to 256 items: strings, images, or both together.

    All items are embedded or none is: the first one that cannot be ends the call, and the problem
    names it. The request of Text Embeddings Inference, which names `inputs`, is answered as it does.
    """
    if isinstance(body, TeiEmbedRequest):
        return await _embed_as_tei(request, runtime, services, body)
    return await _embed(request, runtime, services, body)


async def _embed_as_tei(
    request: Request, runtime: Runtime, services: Services, body: TeiEmbedRequest
) -> list[list[float]]:
    """The vectors alone."""
    wanted = request_items(body.inputs, "inputs")
    check_item_count(runtime, "inputs", len(wanted))
    dimensions = check_dimensions(body.dimensions, services.backend.embedder.info.dimensions)
    options = EmbedOptions(
        input_type=body.input_type,
        route=body.route,
        truncate=bool(body.truncate),
        priority=0 if body.input_type is InputType.QUERY else 1,
    )
    work = services.embedding.embed(wanted, options, runtime.query_deadline())
    embeddings = await while_connected(request, work)
    log_embeddings(request, runtime, wanted, embeddings)
    return [shorten(embedding.vector, dimensions).tolist() for embedding in embeddings]


async def _embed(request: Request, runtime: Runtime, services: Services, body: EmbedRequest) -> EmbedResponse:
    started = time.perf_counter()
    wanted = request_items(body.input, "input")
    check_item_count(runtime, "input", len(wanted))
    info = services.backend.embedder.info
    # Refuse bad dimensions before the model works.
    dimensions = check_dimensions(body.dimensions, info.dimensions)
    work = services.embedding.embed(wanted, options_of(body), runtime.query_deadline())
    embeddings = await while_connected(request, work)
    log_embeddings(request, runtime, wanted, embeddings)
    return EmbedResponse(
        model=info.model,
        dimensions=dimensions,
        data=[
            EmbeddingBody(
                index=index,
                embedding=encode(shorten(embedding.vector, dimensions), body.encoding_format),
                route=embedding.route,
                confidence=embedding.confidence,
                augmentation=embedding.augmentation,
                augment_tokens=embedding.augment_tokens,
            )
            for index, embedding in enumerate(embeddings)
        ],
        usage=EmbedUsage(
            prompt_tokens=sum(embedding.prompt_tokens for embedding in embeddings),
            image_tokens=sum(embedding.image_tokens for embedding in embeddings),
            augment_tokens=sum(embedding.augment_tokens for embedding in embeddings),
        ),
        latency_ms=round((time.perf_counter() - started) * 1000, 3),
    )
