"""A real Prometheus that scrapes real servers."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.server_process import free_port

SCRAPE_SECONDS = 2  # and the time-out of a scrape: a busy machine needs it
_START_SECONDS = 120


def prometheus() -> str | None:
    """The installed program, if there is one."""
    return shutil.which("prometheus")


class Prometheus:
    """One Prometheus with the chart's rules, as the job `solomon`."""

    def __init__(self, executable: str, folder: Path, targets: Sequence[str], rules: Path) -> None:
        self._url = f"http://127.0.0.1:{free_port()}"
        configuration = {
            "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"},
            "rule_files": [str(rules)],
            "scrape_configs": [
                {
                    "job_name": "solomon",
                    "static_configs": [{"targets": list(targets), "labels": {"namespace": "search"}}],
                }
            ],
        }
        path = folder / "prometheus.yml"
        path.write_text(json.dumps(configuration), "utf-8")  # JSON is YAML
        self._log = folder / "prometheus.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    executable,
                    f"--config.file={path}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address={self._url.removeprefix('http://')}",
                    "--enable-feature=exemplar-storage",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def get(self, path: str, **parameters: str | float) -> Any:
        """The `data` of an API call."""
        answer = httpx.get(f"{self._url}/api/v1/{path}", params=parameters, timeout=30)
        return answer.raise_for_status().json()["data"]

    def values(self, expression: str) -> list[float]:
        """The present values of an expression, one for each series."""
        return [float(series["value"][1]) for series in self.get("query", query=expression)["result"]]

    def drawn(self, expression: str, seconds: int) -> list[float]:
        """All that a panel draws of an expression over the last seconds, as Grafana asks for it."""
        now = time.time()
        found = self.get("query_range", query=expression, start=now - seconds, end=now, step=SCRAPE_SECONDS)
        return [float(value) for series in found["result"] for _, value in series["values"]]

    def wait_for(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds; a server that does not answer yet holds none."""
        deadline = time.monotonic() + _START_SECONDS
        while True:
            assert self._process.poll() is None, self._log.read_text("utf-8")
            try:
                if condition():
                    return
            except httpx.HTTPError:  # not listening yet, or a 503 while it opens
                pass
            assert time.monotonic() < deadline, f"in vain: {what}; {self._log.read_text('utf-8')[-2000:]}"
            time.sleep(0.2)

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(60)
