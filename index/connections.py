"""The read-only connections to one log."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from index.schema import connect, raise_storage_error, storage_errors


class ReadConnections:
    """Lends connections to a log's database; there come to be as many as there are reads at a time."""

    def __init__(self, path: Path) -> None:
        """Begin with none."""
        self._path = path
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []

    def lend(self) -> LentConnection:
        """A connection outside any transaction, within a `with`.

        What goes wrong there is raised as `StorageError`.
        """
        return LentConnection(self)

    def close(self) -> None:
        """Close those that are not lent."""
        with self._lock:
            for connection in self._idle:
                connection.close()
            self._idle.clear()

    def _take(self) -> sqlite3.Connection:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        with storage_errors(self._path):
            connection = connect(self._path)
            connection.execute("PRAGMA query_only = ON")
            return connection

    def _give_back(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            with storage_errors(self._path):
                connection.execute("ROLLBACK")
        with self._lock:
            self._idle.append(connection)


class LentConnection:
    """A connection that is lent while its `with` lasts.

    A class, as each search enters one: the frame of a generator takes several times as long.
    """

    __slots__ = ("_connection", "_connections")

    def __init__(self, connections: ReadConnections) -> None:
        self._connections = connections

    def __enter__(self) -> sqlite3.Connection:
        self._connection = self._connections._take()
        return self._connection

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._connections._give_back(self._connection)
        if error is not None:
            raise_storage_error(self._connections._path, error)
