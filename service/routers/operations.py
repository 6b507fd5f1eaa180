"""Information, health and metrics."""

from __future__ import annotations

import anyio.to_thread
from fastapi import APIRouter, Request, Response

from index.validation import MAX_K
from service import problems
from service.problems import CATALOGUE, Problem
from service.routers.dependencies import RuntimeDependency, ServicesDependency, documented
from service.schemas.operations import (
    HealthResponse,
    InfoResponse,
    LimitsBody,
    ModelBody,
    ProblemTypeBody,
    ReadyResponse,
)

router = APIRouter(tags=["operations"])


@router.head("/info", include_in_schema=False)
@router.get("/info", summary="What is served", responses=documented())
async def info(request: Request, runtime: RuntimeDependency, services: ServicesDependency) -> InfoResponse:
    """Checkpoint, dimensions, limits and threshold."""
    from model.images import ImageLimits  # brings torch along, which start-up loads in the background

    image_limits = ImageLimits()
    model = services.backend.embedder.info
    settings = runtime.settings
    return InfoResponse(
        version=request.app.version,
        model=ModelBody(
            name=model.model,
            base_model=model.base_model,
            base_revision=model.base_revision,
            checkpoint_sha256=model.checkpoint_sha256,
            pooling=model.pooling,
            device=model.device,
            dtype=model.dtype,
        ),
        dimensions=model.dimensions,
        augment_threshold=model.augment_threshold,
        default_augment_tokens=model.max_augment_tokens,
        limits=LimitsBody(
            max_items=settings.max_items,
            max_prompt_tokens=model.max_prompt_tokens,
            max_augment_tokens=model.longest_augmentation,
            max_body_bytes=settings.max_body_bytes,
            max_image_bytes=settings.max_image_bytes,
            max_image_pixels=image_limits.max_pixels,
            max_image_side=image_limits.max_side,
            max_queue=settings.max_queue,
            max_k=MAX_K,
            request_timeout_seconds=settings.request_timeout_seconds,
            image_url_hosts=list(settings.image_url_hosts),
        ),
    )


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", summary="Liveness", responses={503: documented()[503]})
async def healthz(runtime: RuntimeDependency) -> HealthResponse:
    """200 while the process can serve or is still starting; 503 when only a restart helps."""
    if not runtime.healthy:
        raise Problem(problems.NOT_READY, "The model has stopped; restart the server.")
    return HealthResponse()


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", summary="Readiness", responses={503: documented()[503]})
async def readyz(runtime: RuntimeDependency, services: ServicesDependency) -> ReadyResponse:
    """200 once the model is loaded and the index has caught up, until the server is told to stop."""
    if runtime.draining:
        raise Problem(problems.NOT_READY, "The server is stopping; send calls to another one.")
    return ReadyResponse()


@router.get("/metrics", summary="Prometheus metrics", response_class=Response, responses=documented())
async def metrics(request: Request, runtime: RuntimeDependency) -> Response:
    """Counters and latencies in Prometheus' text format, or in OpenMetrics with exemplars if accepted.

    An exemplar names the `request_id` of a call in a bucket, under which the log has its line.
    """
    accept = request.headers.get("accept", "")
    body, content_type = await anyio.to_thread.run_sync(runtime.metrics.render, accept)
    return Response(body, headers={"Content-Type": content_type})


@router.get("/problems/{slug}", summary="A kind of problem", responses=documented(404))
async def problem_type(slug: str) -> ProblemTypeBody:
    """What the `type` of a problem document points at."""
    kind = CATALOGUE.get(slug)
    if kind is None:
        listed = ", ".join(CATALOGUE)
        raise Problem(problems.NOT_FOUND, f"No problem is called that; there are {listed}.")
    return ProblemTypeBody(type=kind.uri, title=kind.title, status=kind.status)
