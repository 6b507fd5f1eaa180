"""File operations that a crash cannot undo or halve: what a call has done is on disk when it returns."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

Buffer = bytes | memoryview


def sync_directory(directory: Path) -> None:
    """Put a directory's names on disk."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_directory(directory: Path) -> None:
    """Make a directory and its parents, if missing, closed to other users, and put their names on disk."""
    if directory.is_dir():
        return
    make_directory(directory.parent)
    directory.mkdir(mode=0o700, exist_ok=True)
    sync_directory(directory.parent)


def close_to_others(directory: Path) -> None:
    """Leave a directory to its owner and group; nothing happens where it is not this user's."""
    with suppress(OSError):
        directory.chmod(directory.stat().st_mode & 0o7770)


def replace_file(path: Path, parts: Iterable[Buffer]) -> None:
    """Write a file so that a reader finds either the old content or the whole new one."""
    temporary = path.with_name(path.name + ".new")
    with open(temporary, "wb") as file:
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    move(temporary, path)


def move(source: Path, target: Path) -> None:
    """Rename atomically, on one filesystem, and put both directories' names on disk."""
    os.rename(source, target)
    sync_directory(target.parent)
    if source.parent != target.parent:
        sync_directory(source.parent)


def empty_directory(directory: Path) -> None:
    """Remove what a directory holds; what cannot be removed now stays for the next time."""
    for child in directory.iterdir():
        if child.is_dir():
            shutil.rmtree(child, ignore_errors=True)
        else:
            with suppress(OSError):
                child.unlink()
