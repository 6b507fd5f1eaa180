"""The read-only connections to one log."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from index.schema import connect, storage_errors


class ReadConnections:
    """Lends connections to a log's database; there come to be as many as there are reads at a time."""

    def __init__(self, path: Path) -> None:
        """Begin with none."""
        self._path = path
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []

    @contextmanager
    def lend(self) -> Iterator[sqlite3.Connection]:
        """A connection outside any transaction. What goes wrong is raised as `StorageError`."""
        with storage_errors(self._path):
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                connection = connect(self._path)
                connection.execute("PRAGMA query_only = ON")
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                with self._lock:
                    self._idle.append(connection)

    def close(self) -> None:
        """Close those that are not lent."""
        with self._lock:
            for connection in self._idle:
                connection.close()
            self._idle.clear()
