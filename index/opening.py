"""Which store to open: one on this machine, in a data directory, or one in Milvus."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from index.types import StorageError, VectorStore

if TYPE_CHECKING:
    from index.copying import CopySource
    from index.milvus.store import MilvusStore

_SCHEMES = ("http", "https", "tcp", "unix")
_MILVUS_LITE = ".db"


def is_milvus(location: str) -> bool:
    """Whether a location is Milvus's: a URI, or a Milvus Lite database, whose name ends in ".db"."""
    return "://" in location or location.startswith("unix:") or location.endswith(_MILVUS_LITE)


def check_milvus(location: str) -> str:
    """Return a location of Milvus. Raises `ValueError` that says what is wrong with it."""
    if "://" not in location and not location.startswith("unix:"):
        return location
    parts = urlsplit(location)
    if parts.scheme not in _SCHEMES:
        raise ValueError(f"{parts.scheme}:// is not a scheme of Milvus; use one of {', '.join(_SCHEMES)}")
    if parts.username or parts.password:
        # A location is logged and shown in errors; a token never is.
        raise ValueError("the address of Milvus must not hold a user or password; set SOLOMON_MILVUS_TOKEN")
    return location


def open_milvus(location: str, token: str | None = None, **options: Any) -> MilvusStore:
    """Connect to Milvus; `options` are those of `MilvusStore`.

    Raises `StoreUnreachable`, `DataDirectoryLocked` and `StorageError`, the last also where pymilvus is
    not installed.
    """
    from index.milvus.store import MilvusStore

    return MilvusStore(location, token, **options)


def open_store_at(location: str, token: str | None = None) -> VectorStore:
    """Open the store at a location: a data directory, a Milvus URI or a Milvus Lite database.

    A directory or database that is missing is made. Raises `StorageError`, and `DataDirectoryLocked` if
    another process has it open.
    """
    if is_milvus(location):
        return open_milvus(location, token)
    from index.store import FaissStore

    return FaissStore(Path(location))


def open_source_at(location: str, token: str | None = None) -> CopySource:
    """Open what is at a location to copy from it; in a data directory, nothing changes by that.

    Raises `StorageError` if there is nothing, and `DataDirectoryLocked` if another process has it open.
    """
    on_disk = "://" not in location and not location.startswith("unix:")
    if on_disk and not Path(location).is_dir():
        raise StorageError(f"There is no store at {location}.")
    if is_milvus(location):
        return open_milvus(location, token)
    from index.reading import FolderSource

    if not (Path(location) / "collections").is_dir():
        raise StorageError(f"{location} is not a data directory of Solomon: it holds no collections.")
    return FolderSource(Path(location))
