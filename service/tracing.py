"""Traces through OpenTelemetry: where they go, and how a piece of work becomes a span.

Spans carry counts, routes and timings, never content: an exception leaves its type, not its message.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from opentelemetry.trace import NoOpTracer, Span, Status, StatusCode, Tracer

from model.installing import install_command
from model.types import Embedding
from service.settings import Settings

_STANDARD_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_NANOSECONDS = 1_000_000_000


class TracingUnavailable(Exception):
    """Traces are wanted and OpenTelemetry's SDK is not installed."""


@dataclass(frozen=True, slots=True)
class Tracing:
    """A tracer, and what sends off the last spans and ends it."""

    tracer: Tracer
    close: Callable[[], None]

    @property
    def on(self) -> bool:
        """Whether anything is recorded."""
        return not isinstance(self.tracer, NoOpTracer)


NO_TRACING = Tracing(NoOpTracer(), lambda: None)


def open_tracing(settings: Settings, version: str) -> Tracing:
    """Tracing as the settings or OpenTelemetry's own variables say; `NO_TRACING` where neither does.

    Raises `TracingUnavailable` if traces are wanted and the extra `otel` is missing.
    """
    if settings.otlp_endpoint is None and not any(os.environ.get(name) for name in _STANDARD_VARIABLES):
        return NO_TRACING
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise TracingUnavailable(
            "traces are asked for (SOLOMON_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT) and OpenTelemetry's "
            f"SDK is not installed: {install_command('otel')}"
        ) from error
    named = {SERVICE_NAME: os.environ.get("OTEL_SERVICE_NAME") or "solomon", SERVICE_VERSION: version}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.otlp_endpoint)))
    return Tracing(provider.get_tracer("solomon", version), provider.shutdown)


@contextmanager
def traced(tracer: Tracer, name: str) -> Iterator[Span]:
    """A span around a piece of work."""
    with tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False) as span:
        try:
            yield span
        except BaseException as error:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise


def trace_embedding(tracer: Tracer, span: Span, embedding: Embedding) -> None:
    """Describe a finished item on its span, and tell its waiting from its computing by spans below it."""
    if not span.is_recording():
        return
    span.set_attributes(
        {
            "solomon.prompt_tokens": embedding.prompt_tokens,
            "solomon.image_tokens": embedding.image_tokens,
            "solomon.augment_tokens": embedding.augment_tokens,
        }
    )
    if embedding.route is not None:
        span.set_attribute("solomon.route", embedding.route.value)
    if embedding.decision is not None:
        span.set_attribute("solomon.decision", embedding.decision)
    if embedding.confidence is not None:
        span.set_attribute("solomon.confidence", embedding.confidence)
    ended = time.time_ns()
    admitted = ended - int(embedding.compute_seconds * _NANOSECONDS)
    queued = admitted - int(embedding.queue_seconds * _NANOSECONDS)
    tracer.start_span("queue", start_time=queued).end(admitted)
    tracer.start_span("compute", start_time=admitted).end(ended)
