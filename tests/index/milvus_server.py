"""A Milvus that can go away and come back: Milvus Lite behind a port, as servers see a Milvus elsewhere."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from milvus_lite.adapter.grpc.server import start_server_in_thread


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@contextmanager
def milvus_server(folder: Path, port: int) -> Iterator[None]:
    """Serve the database in a folder until the block ends."""
    server, database, _ = start_server_in_thread(str(folder), port=port)
    try:
        yield
    finally:
        server.stop(grace=0).wait()
        database.close()
