"""A Solomon server as operators run it: `solomon serve` in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

_START_SECONDS = 240  # a first start may build the base and index the demo corpus on a busy machine
_STOP_SECONDS = 60


def solomon_command() -> list[str]:
    """`solomon` of the environment that runs the tests."""
    script = Path(sys.executable).with_name("solomon")
    assert script.exists(), "solomon is not installed in this environment; run `make setup`"
    return [str(script)]


def clean_environment(**changes: str) -> dict[str, str]:
    """This process's environment with the changes; of its SOLOMON_ variables only the cache is kept."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name == "SOLOMON_CACHE_DIR" or not name.startswith("SOLOMON_")
    }
    return {**inherited, **changes}


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ServerProcess:
    """One server on a data directory; it can be killed and started again there."""

    def __init__(
        self,
        data_dir: Path,
        model: str | None,
        demo: bool = False,
        command: Sequence[str] | None = None,
        **settings: str,
    ) -> None:
        """Take a data directory and settings; `command` stands for another program than `solomon`."""
        self._command = [*(command or solomon_command()), "serve"]
        self.data_dir = data_dir
        self.log = data_dir.with_suffix(".log")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._options = ["--data-dir", str(data_dir), "--port", str(self.port)]
        self._options += ["--demo" if demo else "--no-demo"]
        self._options += ["--model", model] if model else []
        self._environment = clean_environment(**settings)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it is ready. Fails with the end of its log if it does not become so."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, *self._options],
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._ready():
            assert self._process.poll() is None, f"the server ended:\n{self.log_tail()}"
            assert time.monotonic() < deadline, f"the server is not ready:\n{self.log_tail()}"
            time.sleep(0.1)

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """kill -9: no chance to finish anything."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """Ask it to stop, as an orchestrator does; returns its exit status."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
        return self._process.returncode

    def log_tail(self, lines: int = 40) -> str:
        """The last lines of what it wrote."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])
