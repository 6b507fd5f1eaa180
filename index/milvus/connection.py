"""The connection to Milvus, or to Milvus Lite in a file, and what its errors mean to the index."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from index.types import DataDirectoryLocked, StorageError, StoreUnreachable, UnknownCollection

CALL_SECONDS = 20.0
LOAD_SECONDS = 3600.0  # a large collection's index is built, or read from object storage, meanwhile

# After an outage gRPC would by default wait for up to two minutes before it tries again.
_RECONNECTING = {"grpc.initial_reconnect_backoff_ms": 200, "grpc.max_reconnect_backoff_ms": 5000}

# Codes of Milvus (internal/merr), the same in Milvus Lite; the last is pymilvus's own, "cannot connect".
COLLECTION_NOT_FOUND = 100
COLLECTION_NOT_LOADED = 101
_CONNECT_FAILED = 2


def is_lite_file(uri: str) -> bool:
    """Whether a URI names a Milvus Lite database, which is a folder whose name ends in ".db"."""
    return uri.endswith(".db") and "://" not in uri


class MilvusConnection:
    """One client of one database. Thread-safe."""

    def __init__(self, uri: str, token: str | None = None, call_seconds: float = CALL_SECONDS) -> None:
        """Connect to a URI such as "http://milvus:19530/database", or open a Milvus Lite file.

        Raises `StoreUnreachable`, `DataDirectoryLocked` if another process has the file open, and
        `StorageError` if pymilvus is not installed.
        """
        self._uri = uri
        self.seconds = call_seconds  # that a call may take
        pymilvus = _import("pymilvus")
        # pymilvus logs each error that it raises, with a traceback; here they are raised or handled.
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
        self._lite = _open_lite(uri) if is_lite_file(uri) else None
        address = uri if self._lite is None else f"http://127.0.0.1:{self._lite.port}"
        try:
            with self.errors():
                self.client = pymilvus.MilvusClient(
                    address, token=token or "", timeout=call_seconds, grpc_options=_RECONNECTING
                )
                version = str(self.client.get_server_version(timeout=call_seconds))
        except BaseException:
            self._release_lite()
            raise
        self.is_lite = version.startswith("milvus_lite")
        self._writing: AbstractContextManager[Any] = nullcontext()
        if self.is_lite:
            self._writing = threading.Lock() if self._lite is None else self._lite.writing

    def writing(self) -> AbstractContextManager[Any]:
        """Hold this around writes: Milvus orders them itself, Milvus Lite asks for one at a time."""
        return self._writing

    def call(self, method: str, collection: str, *args: Any, **options: Any) -> Any:
        """Call a method of `MilvusClient` on a collection, which is loaded first where it is not.

        Raises `UnknownCollection`, `StoreUnreachable` and `StorageError`.
        """
        options.setdefault("timeout", self.seconds)
        function = getattr(self.client, method)
        with self.errors():
            try:
                return function(collection, *args, **options)
            except Exception as error:
                if getattr(error, "code", None) != COLLECTION_NOT_LOADED:
                    raise
            self.client.load_collection(collection, timeout=LOAD_SECONDS)
            return function(collection, *args, **options)

    def walk(
        self, collection: str, expression: str, fields: list[str], batch: int
    ) -> Iterator[list[dict[str, Any]]]:
        """Every row that meets an expression, in batches, as of one moment (Milvus Lite: one a batch)."""
        iterator = self.call(
            "query_iterator",
            collection,
            batch_size=batch,
            filter=expression,
            output_fields=fields,
            consistency_level="Strong",
        )
        try:
            while True:
                with self.errors():
                    rows = iterator.next()
                if not rows:
                    return
                yield list(rows)
        finally:
            iterator.close()

    def close(self) -> None:
        """Close the connection; the last one in this process to a Milvus Lite file lets go of the file."""
        self.client.close()
        self._release_lite()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn errors of pymilvus and gRPC into those of the index."""
        import grpc
        from pymilvus.exceptions import MilvusException

        try:
            yield
        except MilvusException as error:
            raise self._translated(error.code, error.message, error.retriable) from error
        except grpc.FutureTimeoutError as error:
            raise self._translated(grpc.StatusCode.DEADLINE_EXCEEDED, str(error)) from error
        except grpc.RpcError as error:
            raise self._translated(error.code(), error.details() or "") from error

    def _translated(self, code: Any, message: str, retriable: bool = False) -> Exception:
        import grpc

        if code == COLLECTION_NOT_FOUND:
            return UnknownCollection("The collection is gone from Milvus.")
        if code in (_CONNECT_FAILED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            return StoreUnreachable(
                f"Milvus at {self._uri} does not answer; what was asked may be done or not, and can be "
                "asked again."
            )
        if retriable:  # it is starting, moving data between nodes, or has too much to do
            return StoreUnreachable(f"Milvus at {self._uri} is not ready: {message or code}.")
        if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
            return StorageError(f"Milvus at {self._uri} refuses this token; check SOLOMON_MILVUS_TOKEN.")
        return StorageError(f"Milvus at {self._uri} refused the call: {message or code}.")

    def _release_lite(self) -> None:
        lite, self._lite = self._lite, None
        if lite is not None:
            _close_lite(lite)


@dataclass(slots=True)
class _LiteDatabase:
    """A Milvus Lite database that this process has open, and how many connections use it."""

    path: str
    server: Any
    database: Any
    port: int
    writing: threading.Lock
    users: int = 0


_lite_lock = threading.Lock()
_lite_open: dict[str, _LiteDatabase] = {}


def _open_lite(uri: str) -> _LiteDatabase:
    """Serve a Milvus Lite database from threads of this process, once however many connections ask for it.

    pymilvus would do the same for such a URI, but swallow the reason of a failure and keep the file
    until the process ends.
    """
    path = os.path.realpath(uri)
    with _lite_lock:
        found = _lite_open.get(path)
        if found is None:
            found = _lite_open[path] = _start_lite(path)
        found.users += 1
        return found


def _start_lite(path: str) -> _LiteDatabase:
    server_module = _import("milvus_lite.adapter.grpc.server")
    from milvus_lite.exceptions import DataDirLockedError, MilvusLiteError

    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        server, database, port = server_module.start_server_in_thread(path)
    except DataDirLockedError as error:
        raise DataDirectoryLocked(
            f"Another process has the Milvus Lite database {path} open; stop it, or choose another."
        ) from error
    except (OSError, MilvusLiteError) as error:
        raise StorageError(f"The Milvus Lite database {path} cannot be opened: {error}.") from error
    return _LiteDatabase(path, server, database, port, threading.Lock())


def _close_lite(lite: _LiteDatabase) -> None:
    with _lite_lock:
        lite.users -= 1
        if lite.users:
            return
        del _lite_open[lite.path]
        lite.server.stop(grace=2).wait()
        lite.database.close()


def _import(module: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise StorageError(
            "A store in Milvus needs pymilvus and milvus-lite, which are the extra `milvus`; "
            "`solomon doctor` tells the command that installs it."
        ) from error
