"""Who may enter: readers beside one another, writers alone, and one process per data directory."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from index.types import DataDirectoryLocked, StorageError


class ReadWriteLock:
    """Many readers or one writer. A waiting writer goes before new readers, so it cannot starve.

    Not reentrant: a thread that reads must not ask to read or write again.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._readers = 0
        self._writers_waiting = 0
        self._writing = False

    @contextmanager
    def read(self) -> Iterator[None]:
        """Hold the lock beside other readers."""
        with self._changed:
            self._changed.wait_for(lambda: not self._writing and not self._writers_waiting)
            self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                if not self._readers:
                    self._changed.notify_all()

    @contextmanager
    def write(self) -> Iterator[None]:
        """Hold the lock alone."""
        with self._changed:
            self._writers_waiting += 1
            try:
                self._changed.wait_for(lambda: not self._writing and not self._readers)
                self._writing = True
            finally:
                self._writers_waiting -= 1
                if not self._writing:
                    self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._writing = False
                self._changed.notify_all()


class DirectoryLock:
    """Holds a data directory for this process; the kernel lets go when the process ends, however it ends."""

    def __init__(self, directory: Path) -> None:
        """Take the lock. Raises `DataDirectoryLocked` if another holder has it."""
        try:
            self._file = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"The data directory cannot be written: {error.strerror}.") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._file)
            raise DataDirectoryLocked(
                f"Another process has the data directory {directory} open; stop it, or choose another."
            ) from error

    def release(self) -> None:
        """Let go of the directory. Releasing twice is harmless."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
