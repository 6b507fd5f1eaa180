"""`/v1`: OpenAI's embeddings API, so that its clients work as they are."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Request

from model.types import EmbedOptions, InputType
from service import problems
from service.connection import while_connected
from service.embedding import RequestItem
from service.problems import Problem, field_problem
from service.routers import examples
from service.routers.dependencies import (
    RuntimeDependency,
    ServicesDependency,
    check_item_count,
    documented,
)
from service.routers.embedding_log import log_embeddings
from service.routers.request_items import request_items
from service.runtime import Services
from service.schemas.openai import (
    OpenAIEmbedding,
    OpenAIEmbeddingRequest,
    OpenAIEmbeddingResponse,
    OpenAIModel,
    OpenAIModels,
    OpenAIUsage,
)
from service.vectors import check_dimensions, encode, shorten

router = APIRouter(prefix="/v1", tags=["openai"])

ALIAS = "solomon"  # names whatever model is served


def _served_names(services: Services) -> list[str]:
    return list(dict.fromkeys((services.backend.embedder.info.model, ALIAS)))


def _check_model(services: Services, name: str) -> None:
    served = _served_names(services)
    if name not in served:
        message = f"The model {name[:200]!r} is not served."
        raise field_problem(problems.UNKNOWN_MODEL, "model", message, f"Use one of: {', '.join(served)}.")


def _request_items(body: OpenAIEmbeddingRequest) -> list[RequestItem]:
    """The items to embed. Raises a `Problem` for token arrays, which another tokenizer made."""
    given = body.input
    if isinstance(given, list) and given and isinstance(given[0], int | list):
        message = "Token arrays are another model's tokens and cannot be embedded here."
        mend = "Send text (in LangChain: check_embedding_ctx_length=False)."
        raise Problem(
            problems.BAD_REQUEST, f"{message} {mend}", (problems.FieldError("input", message, mend),)
        )
    return request_items(given, "input")  # token arrays have left above


@router.post("/embeddings", summary="Embed, in OpenAI's shape", responses=documented(404, embeds=True))
async def create_embeddings(
    request: Request,
    runtime: RuntimeDependency,
    services: ServicesDependency,
    body: Annotated[OpenAIEmbeddingRequest, Body(openapi_examples=examples.OPENAI)],
) -> OpenAIEmbeddingResponse:
    """What OpenAI's clients call. Inputs count as queries unless `input_type` says document."""
    _check_model(services, body.model)
    items = _request_items(body)
    check_item_count(runtime, "input", len(items))
    dimensions = check_dimensions(body.dimensions, services.backend.embedder.info.dimensions)
    options = EmbedOptions(
        input_type=body.input_type,
        route=body.route,
        priority=0 if body.input_type is InputType.QUERY else 1,
    )
    work = services.embedding.embed(items, options, runtime.query_deadline())
    embeddings = await while_connected(request, work)
    log_embeddings(request, runtime, items, embeddings)
    encoding = body.encoding_format or "float"
    read = sum(embedding.prompt_tokens for embedding in embeddings)
    written = sum(embedding.augment_tokens for embedding in embeddings)
    return OpenAIEmbeddingResponse(
        model=body.model,
        data=[
            OpenAIEmbedding(
                index=index,
                embedding=encode(shorten(embedding.vector, dimensions), encoding),
            )
            for index, embedding in enumerate(embeddings)
        ],
        usage=OpenAIUsage(prompt_tokens=read, total_tokens=read + written),
    )


@router.get("/models", summary="Served models, in OpenAI's shape", responses=documented())
async def list_models(services: ServicesDependency) -> OpenAIModels:
    """The served model and its alias `solomon`."""
    names = _served_names(services)
    return OpenAIModels(data=[OpenAIModel(id=name, created=services.opened_at) for name in names])


@router.get("/models/{model:path}", summary="A served model, in OpenAI's shape", responses=documented(404))
async def show_model(model: str, services: ServicesDependency) -> OpenAIModel:
    """One served model; names of hub models hold a slash."""
    _check_model(services, model)
    return OpenAIModel(id=model, created=services.opened_at)
