"""The server under test, and what the operating system says of its process."""

from __future__ import annotations

import os
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.e2e.server_process import ServerProcess

COMMAND = (sys.executable, "-m", "benchmarks.faults.faulty_server")
CLIENT_SECONDS = 120.0


class Target(ServerProcess):
    """A server whose memory, files and limits can be looked at and changed while it runs."""

    def collection(self) -> str:
        """The path of a collection to write to, which is made if it is missing."""
        httpx.put(f"{self.url}/collections/faults", timeout=CLIENT_SECONDS).raise_for_status()
        return "/collections/faults"

    def client(self) -> httpx.Client:
        """A patient client."""
        return httpx.Client(base_url=self.url, timeout=CLIENT_SECONDS)

    def resident_bytes(self) -> int:
        """Memory that is in RAM."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError(f"process {self.pid} is gone")

    def open_files(self) -> int:
        """File descriptors, connections among them."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def threads(self) -> int:
        """Threads."""
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def kill_engine(self) -> None:
        """Let the engine's thread die."""
        os.kill(self.pid, signal.SIGUSR1)

    def skew_clock(self) -> None:
        """Set the wall clock to another day."""
        os.kill(self.pid, signal.SIGUSR2)

    def fill_disk(self) -> None:
        """Let no file of the server grow any more, but for some pages (EFBIG)."""
        largest = max(file.stat().st_size for file in self.data_dir.rglob("*") if file.is_file())
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (largest + 100_000, hard))

    def free_disk(self) -> None:
        """Let files grow again."""
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (hard, hard))


@contextmanager
def serving(tiny: bool, **settings: str) -> Iterator[Target]:
    """A server on an empty data directory, with the tests' tiny model or the shipped checkpoint."""
    model = {"SOLOMON_FAULTS_MODEL": "tiny"} if tiny else {}
    with tempfile.TemporaryDirectory(prefix="solomon-faults-") as folder:
        target = Target(Path(folder) / "data", None, command=COMMAND, **model, **settings)
        try:
            target.start()
            yield target
        finally:
            target.stop()
