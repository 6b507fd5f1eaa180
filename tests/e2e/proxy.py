"""A real nginx in front of servers, kept up to date with their readiness as an ingress is."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from tests.e2e.server_process import free_port

_LOOK_SECONDS = 0.25
# No call is tried twice: what fails at a server fails for the client.
_CONFIGURATION = """
user root;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream solomon {{
{servers}
    keepalive 16;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://solomon;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host localhost;
      proxy_next_upstream off;
      proxy_read_timeout 120s;
    }}
  }}
}}
"""


def nginx() -> str | None:
    """The installed program, if there is one; Debian keeps it where only root looks."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


class ReadyProxy:
    """Sends calls to those servers that say on /readyz that they are ready."""

    def __init__(self, executable: str, folder: Path, ports: Sequence[int]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._executable = executable
        self._folder = folder
        self._ports = ports
        self._used: list[int] = []
        self._over = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._watch = threading.Thread(target=self._keep_up, daemon=True)

    @property
    def used(self) -> list[int]:
        """The ports to which calls go at present."""
        return self._used

    def start(self) -> None:
        """Start it, when every server is ready."""
        self._write(list(self._ports))
        self._process = subprocess.Popen(
            [self._executable, "-p", str(self._folder), "-c", "nginx.conf", "-g", "daemon off;"]
        )
        self._watch.start()

    def stop(self) -> None:
        """End it."""
        self._over.set()
        self._watch.join(60)
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)

    def _keep_up(self) -> None:
        with httpx.Client(timeout=5) as client:
            while not self._over.is_set():
                ready = [port for port in self._ports if _is_ready(client, port)]
                if ready and ready != self._used:
                    self._write(ready)
                    subprocess.run(
                        [self._executable, "-p", str(self._folder), "-c", "nginx.conf", "-s", "reload"],
                        check=True,
                        timeout=60,
                    )
                time.sleep(_LOOK_SECONDS)

    def _write(self, ports: list[int]) -> None:
        servers = "\n".join(f"    server 127.0.0.1:{port} max_fails=0;" for port in ports)
        text = _CONFIGURATION.format(folder=self._folder, servers=servers, port=self.port)
        (self._folder / "nginx.conf").write_text(text, "utf-8")
        self._used = ports


def _is_ready(client: httpx.Client, port: int) -> bool:
    try:
        return client.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx.TransportError:
        return False
