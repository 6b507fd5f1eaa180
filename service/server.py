"""Runs the application under uvicorn until it is told to stop, or fails to open.

Told to stop by SIGTERM, the server first says that it is not ready and goes on serving for
`drain_seconds`, until whoever sends calls has noticed. Then it stops listening and finishes what is in
flight. What is not finished after `grace_seconds` is handed back: a 503 that asks to be sent elsewhere.
Ctrl-C leaves out the first step, and a second signal ends it.
"""

from __future__ import annotations

import asyncio
import math
import signal
import time
from types import FrameType
from typing import TYPE_CHECKING

import structlog
import uvicorn

from service.app import create_app, package_version
from service.http_protocol import bounded_protocol
from service.runtime import Runtime
from service.settings import Settings
from service.startup import BackendOpener
from service.tracing import Tracing, TracingUnavailable, open_tracing

if TYPE_CHECKING:
    import socket

_HAND_BACK_SECONDS = 3  # for the 503 of what could not be finished to reach its callers
_log = structlog.get_logger("solomon.server")


class DrainingServer(uvicorn.Server):
    """Uvicorn that becomes unready before it stops, and hands back what it cannot finish."""

    def __init__(self, config: uvicorn.Config, runtime: Runtime, drain: float, grace: float) -> None:
        super().__init__(config)
        self._runtime = runtime
        self._drain_seconds = drain
        self._grace_seconds = grace
        self._drained_at: float | None = None  # a `time.monotonic()` instant, once draining

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal: the first SIGTERM begins to drain, anything else stops at once."""
        drains = sig == signal.SIGTERM and self._drain_seconds > 0 and self._runtime.ready
        self._runtime.begin_draining()
        if drains:
            self._drained_at = time.monotonic() + self._drain_seconds
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Called every 0.1 s while serving; True ends it."""
        if self._drained_at is not None and time.monotonic() >= self._drained_at:
            self._drained_at = None
            super().handle_exit(signal.SIGTERM, None)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, finish what is in flight or hand it back, and close the application."""
        self._runtime.begin_draining()
        _log.info("stopping", in_flight=len(self.server_state.tasks), grace_seconds=self._grace_seconds)
        handing_back = asyncio.create_task(self._hand_back())
        try:
            await super().shutdown(sockets)
        finally:
            handing_back.cancel()
        _log.info("stopped", unfinished=len(self.server_state.tasks))

    async def _hand_back(self) -> None:
        await asyncio.sleep(self._grace_seconds)
        _log.warning("calls in flight are handed back", in_flight=len(self.server_state.tasks))
        await self._runtime.hand_back()


class Server:
    """Uvicorn around one application. SIGINT and SIGTERM finish what is in flight and close the store."""

    def __init__(self, settings: Settings, tracing: Tracing) -> None:
        app = create_app(settings, BackendOpener(settings), on_failure=self._stop, tracing=tracing)
        self._runtime: Runtime = app.state.runtime
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            http=bounded_protocol(settings.max_connections, self._runtime.metrics),
            ws="none",
            access_log=False,  # service.middleware.access_log writes it
            log_config=None,
            server_header=False,
            proxy_headers=False,  # what a caller says of its own address is not logged as if it were one
            timeout_keep_alive=settings.keep_alive_seconds,
            timeout_graceful_shutdown=math.ceil(settings.grace_seconds) + _HAND_BACK_SECONDS,
        )
        self._server = DrainingServer(config, self._runtime, settings.drain_seconds, settings.grace_seconds)

    def run(self) -> Exception | None:
        """Serve; returns why serving could not begin, None after an ordinary stop."""
        try:
            self._server.run()
        except KeyboardInterrupt:
            pass  # raised again by uvicorn, after the stop that Ctrl-C asked for
        except SystemExit:  # raised by uvicorn if it cannot listen; its log line says why
            config = self._server.config
            return OSError(
                f"port {config.port} of {config.host} cannot be listened on; choose another --port"
            )
        return self._runtime.failure

    def _stop(self) -> None:
        self._server.should_exit = True


def run_server(settings: Settings) -> Exception | None:
    """Serve until stopped; returns why serving could not begin, None after an ordinary stop."""
    try:
        tracing = open_tracing(settings, package_version())
    except TracingUnavailable as error:
        return error
    return Server(settings, tracing).run()
