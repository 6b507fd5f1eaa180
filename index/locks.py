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
        self._lock = threading.Lock()  # taken by itself: a condition's own methods run in Python
        self._left = threading.Condition(self._lock)
        self._count = 0
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether somebody closes it, or has: a call that takes minutes looks, and gives up."""
        return self._closed

    def enter(
        self, refusal: Callable[[], Exception], check: Callable[[], None] | None = None
    ) -> CallUnderWay:
        """Be counted within a `with`; raises what `refusal` makes if the resource is closed.

        `check` is called before the call is counted, and may raise.
        """
        return CallUnderWay(self, refusal, check)

    def close(self) -> bool:
        """Let nobody in any more and wait for those who are; False if that was done before."""
        with self._lock:
            first, self._closed = not self._closed, True
            self._left.wait_for(lambda: not self._count)
        return first

    def _begin(self, refusal: Callable[[], Exception], check: Callable[[], None] | None) -> None:
        with self._lock:
            if self._closed:
                raise refusal()
            if check is not None:
                check()
            self._count += 1

    def _end(self) -> None:
        with self._lock:
            self._count -= 1
            if self._closed and not self._count:
                self._left.notify_all()


class CallUnderWay:
    """A call that is counted while its `with` lasts.

    A class, as each search enters one: the frame of a generator takes several times as long.
    """

    __slots__ = ("_calls", "_check", "_refusal")

    def __init__(
        self, calls: CallsUnderWay, refusal: Callable[[], Exception], check: Callable[[], None] | None
    ) -> None:
        self._calls, self._refusal, self._check = calls, refusal, check

    def __enter__(self) -> None:
        self._calls._begin(self._refusal, self._check)

    def __exit__(self, *_: object) -> None:
        self._calls._end()


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
            reason = f"The data directory {directory} cannot be {wanted}: {error.strerror}."
            raise StorageError(reason) from error
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
