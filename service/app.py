"""The application: middleware, routers and error handlers around one runtime."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from service.auth.keyring import Keyring
from service.auth.scopes import RouteAccess
from service.error_handlers import add_error_handlers
from service.image_urls import ImageFetcher
from service.metrics import Metrics
from service.middleware import request_id
from service.middleware.access_log import AccessLogMiddleware
from service.middleware.api_key import ApiKeyMiddleware
from service.middleware.body_limit import BodyLimitMiddleware, BodyLimits
from service.middleware.draining import DrainingMiddleware
from service.middleware.failures import FailuresMiddleware
from service.middleware.full_queue import FullQueueMiddleware
from service.middleware.head_limit import HeadLimitMiddleware
from service.middleware.host_name import HostNameMiddleware
from service.middleware.origin import OriginMiddleware
from service.middleware.request_id import RequestIdMiddleware
from service.middleware.security_headers import SecurityHeadersMiddleware
from service.middleware.tracing import TracingMiddleware
from service.openapi import use_problem_documents
from service.routers import (
    backups,
    collections,
    docs,
    documents,
    embed,
    openai,
    operations,
    page,
    rebuild,
    search,
)
from service.runtime import OpenBackend, Runtime
from service.settings import Settings
from service.tracing import NO_TRACING, Tracing

DESCRIPTION = """
An embedding server that thinks before it embeds, but only when thinking pays.

A query (text, an image, or both) is first given a route: `/embed` pools its vector at once, `/augment`
writes a short answer first and pools then. Documents are pooled directly. Errors are RFC 9457 problem
documents that name the field and how to mend it; under `/v1` they take OpenAI's form.
"""


def package_version() -> str:
    """The installed version, or "dev" in a checkout that is not installed."""
    try:
        return version("solomon-embed")
    except PackageNotFoundError:
        return "dev"


def create_app(
    settings: Settings,
    open_backend: OpenBackend,
    *,
    fetcher: ImageFetcher | None = None,
    on_failure: Callable[[], None] | None = None,
    tracing: Tracing = NO_TRACING,
) -> FastAPI:
    """Build the application.

    `open_backend` is called once, in a thread, when the application starts; until it returns, only
    health is answered. `fetcher` replaces the image downloader. `on_failure` is called when opening
    failed, so that whoever runs the server can stop it. `tracing` is closed with the application.
    """
    metrics = Metrics()
    runtime = Runtime(settings, metrics, fetcher, tracing.tracer, package_version())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async def open_or_report() -> None:
            try:
                await runtime.open(open_backend)
            except Exception:  # kept in runtime.failure, and logged there
                if on_failure is not None:
                    on_failure()

        opening = asyncio.create_task(open_or_report())
        yield
        runtime.stop_opening()
        await opening
        await runtime.close()
        await asyncio.to_thread(tracing.close)

    app = FastAPI(
        title="Solomon",
        version=package_version(),
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,  # what a proxy in front makes of such an address nobody knows
    )
    app.state.runtime = runtime
    for module in (embed, search, collections, backups, rebuild, documents, openai, operations, docs, page):
        app.include_router(module.router)
    _add_middleware(app, settings, runtime, tracing)
    add_error_handlers(app, metrics)
    use_problem_documents(app, needs_key=settings.needs_key)
    return app


def _add_middleware(app: FastAPI, settings: Settings, runtime: Runtime, tracing: Tracing) -> None:
    metrics = runtime.metrics
    # The last one added is the outermost.
    limits = BodyLimits(
        one=settings.max_body_bytes,
        backup=settings.max_backup_bytes,
        total=settings.max_total_body_bytes,
        seconds=settings.body_timeout_seconds,
    )
    app.add_middleware(BodyLimitMiddleware, limits=limits, metrics=metrics)
    app.add_middleware(FullQueueMiddleware, runtime=runtime, metrics=metrics)
    keyring = Keyring([key.get_secret_value() for key in settings.api_keys], settings.api_keys_file)
    metrics.key_file_broken.set_function(lambda: keyring.broken)
    access = RouteAccess(app.routes)
    app.add_middleware(ApiKeyMiddleware, keyring=keyring, access=access, metrics=metrics)
    if not settings.needs_key:
        app.add_middleware(OriginMiddleware, allowed=settings.cors_origins, metrics=metrics)
    if settings.cors_origins:  # outside the keys: a browser asks first whether it may send one
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "X-API-Key", request_id.HEADER],
            expose_headers=["Retry-After", request_id.HEADER],
        )
    if settings.checks_host:
        app.add_middleware(HostNameMiddleware, allowed=settings.allowed_hosts, metrics=metrics)
    app.add_middleware(HeadLimitMiddleware, metrics=metrics)
    app.add_middleware(FailuresMiddleware, metrics=metrics)
    app.add_middleware(SecurityHeadersMiddleware, docs_path=docs.PATH)
    app.add_middleware(DrainingMiddleware, runtime=runtime)
    app.add_middleware(AccessLogMiddleware, metrics=metrics, access=access)
    if tracing.on:
        app.add_middleware(TracingMiddleware, tracer=tracing.tracer, access=access)
    app.add_middleware(RequestIdMiddleware)
