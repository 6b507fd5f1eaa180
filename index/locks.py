"""Who may enter: calls while a collection is open, one change of a name, one process per directory."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from index.types import DataDirectoryLocked, StorageError


class CallsUnderWay:
    """Counts the calls that use a resource, so that it is closed only when none does.

    A call takes a lock to enter and to leave, and holds none in between.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether somebody closes it, or has: a call that takes minutes looks, and gives up."""
        return self._closed

    @contextmanager
    def enter(self, refusal: Callable[[], Exception]) -> Iterator[None]:
        """Be counted; raises what `refusal` makes if the resource is closed."""
        with self._changed:
            if self._closed:
                raise refusal()
            self._count += 1
        try:
            yield
        finally:
            with self._changed:
                self._count -= 1
                if not self._count:
                    self._changed.notify_all()

    def close(self) -> bool:
        """Let nobody in any more and wait for those who are; False if that was done before."""
        with self._changed:
            first, self._closed = not self._closed, True
            self._changed.wait_for(lambda: not self._count)
        return first


class NameLocks:
    """A lock for each name, for as long as somebody holds it, and one over all of them.

    Whoever holds names takes no more; several are taken together.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: set[str] = set()
        self._all_wanted = False

    @contextmanager
    def holding(self, *names: str) -> Iterator[None]:
        """Hold names, after those who hold one of them; other names' holders are not waited for."""
        with self._changed:
            self._changed.wait_for(lambda: not self._all_wanted and self._held.isdisjoint(names))
            self._held.update(names)
        try:
            yield
        finally:
            with self._changed:
                self._held.difference_update(names)
                self._changed.notify_all()

    @contextmanager
    def holding_all(self) -> Iterator[None]:
        """Hold every name there may be, after those who hold any."""
        with self._changed:
            self._changed.wait_for(lambda: not self._all_wanted)
            self._all_wanted = True  # from here on nobody new is let in
            self._changed.wait_for(lambda: not self._held)
        try:
            yield
        finally:
            with self._changed:
                self._all_wanted = False
                self._changed.notify_all()


class DirectoryLock:
    """Holds a data directory for this process; the kernel lets go when the process ends, however it ends."""

    def __init__(self, directory: Path, *, make: bool = True) -> None:
        """Take the lock. Raises `DataDirectoryLocked` if another holder has it.

        Without `make` nothing is written: where there is no lock, there is nobody to keep out either.
        """
        self._file = -1
        flags = os.O_RDWR | os.O_CREAT if make else os.O_RDONLY
        try:
            self._file = os.open(directory / "lock", flags | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            if not make:
                return
            raise
        except OSError as error:
            wanted = "written" if make else "read"
            raise StorageError(f"The data directory cannot be {wanted}: {error.strerror}.") from error
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
