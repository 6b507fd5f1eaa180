"""Runs the application under uvicorn until it is told to stop, or fails to open."""

from __future__ import annotations

import uvicorn

from service.app import create_app
from service.http_protocol import bounded_protocol
from service.runtime import Runtime
from service.settings import Settings
from service.startup import BackendOpener

_GRACE_SECONDS = 30  # how long calls in flight may take to finish when the server stops


class Server:
    """Uvicorn around one application. SIGINT and SIGTERM finish what is in flight and close the store."""

    def __init__(self, settings: Settings) -> None:
        app = create_app(settings, BackendOpener(settings), on_failure=self._stop)
        self._runtime: Runtime = app.state.runtime
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            http=bounded_protocol(settings.max_connections),
            ws="none",
            access_log=False,  # service.middleware.access_log writes it
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        self._server = uvicorn.Server(config)

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
    return Server(settings).run()
