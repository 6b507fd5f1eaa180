"""One span a call, below the caller's own if it sent a `traceparent`."""

from __future__ import annotations

import structlog
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, format_trace_id
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.auth.scopes import RouteAccess
from service.middleware.access_log import QUIET, path_template

_PROPAGATOR = TraceContextTextMapPropagator()
_NAMES = ("traceparent", "tracestate")


class TracingMiddleware:
    """Opens the call's span and binds its trace's id, for the log and for exemplars."""

    def __init__(self, app: ASGIApp, tracer: Tracer, access: RouteAccess) -> None:
        self._app = app
        self._tracer = tracer
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if scope["type"] != "http" or scope["path"] in QUIET:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        carrier = {name: headers[name] for name in _NAMES if name in headers}
        span = self._tracer.start_as_current_span(
            scope["method"],
            context=_PROPAGATOR.extract(carrier),
            kind=SpanKind.SERVER,
            record_exception=False,
            set_status_on_exception=False,
        )
        with span as current:
            trace_id = format_trace_id(current.get_span_context().trace_id)
            with structlog.contextvars.bound_contextvars(trace_id=trace_id):
                await self._serve(current, scope, receive, send)

    async def _serve(self, span: Span, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_noting_status(message: Message) -> None:
            if message["type"] == "http.response.start":
                span.set_attribute("http.response.status_code", message["status"])
                if message["status"] >= 500:
                    span.set_status(Status(StatusCode.ERROR))
            await send(message)

        try:
            await self._app(scope, receive, send_noting_status)
        except BaseException as error:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
        finally:
            template = path_template(scope, self._access)
            span.update_name(f"{scope['method']} {template}")
            span.set_attributes({"http.request.method": scope["method"], "http.route": template})
            request_id = structlog.contextvars.get_contextvars().get("request_id")
            span.set_attribute("solomon.request_id", str(request_id))
