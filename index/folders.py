"""The folders of a data directory, and how a collection's folder comes, goes and is replaced.

    collections/<name>/     the collections
    staging/                collections being made; staging/<name>.<what> is one that shall replace <name>
    trash/                  collections being removed
    damaged/                what damage was found in, kept for whoever wants to look further

A collection comes and goes by one rename. It is replaced by several, of which the first decides: a folder
in staging under its final name is complete, and the next opening ends what a crash cut short.
"""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from index.files import close_to_others, empty_directory, make_directory, move
from index.log_names import logged_name, names_are_shown
from index.validation import is_name

_RESTORED = "restored"  # what replaces a collection whose folder is not wanted any more
_SALVAGED = "salvaged"  # what replaces one whose folder is kept in `damaged`

_logger = logging.getLogger(__name__)


class Folders:
    """The collections' folders of one data directory, which the caller holds the lock of."""

    def __init__(self, data_dir: Path) -> None:
        """Make the folders that are missing, and end or undo what a crash left unfinished."""
        self._collections = data_dir / "collections"
        self._staging = data_dir / "staging"
        self._trash = data_dir / "trash"
        self._damaged = data_dir / "damaged"
        for directory in (self._collections, self._staging, self._trash):
            make_directory(directory)
        for directory in (self._collections, self._staging, self._trash, self._damaged):
            close_to_others(directory)  # they were made open to all once
        for kind in (_RESTORED, _SALVAGED):
            for staged in self._staging.glob(f"*.{kind}"):
                if is_name(staged.stem):
                    self._finish(staged)
        empty_directory(self._staging)
        empty_directory(self._trash)

    def names(self) -> Sequence[str]:
        """The collections there are, whole or not: folders with a possible name that hold anything."""
        found = []
        for folder in sorted(self._collections.iterdir()):
            if _holds_one(folder):
                found.append(folder.name)
            else:
                _logger.warning("passed over %s in the data directory: not a collection", folder.name)
        return found

    def finish(self, name: str) -> None:
        """End what a failing disk left half done for a collection. Raises `OSError`."""
        for kind in (_RESTORED, _SALVAGED):
            staged = self._staging / f"{name}.{kind}"
            if staged.exists():
                _delete(self._finish(staged))

    def folder(self, name: str) -> Path:
        """Where a collection lies, or would."""
        return self._collections / name

    def stage(self) -> Path:
        """A new folder in which a collection can be made."""
        staged = self._staging / uuid.uuid4().hex
        make_directory(staged)
        return staged

    @contextmanager
    def staged(self) -> Iterator[Path]:
        """The same, for a while: what was not moved away by the end is deleted, room and all."""
        staged = self.stage()
        try:
            yield staged
        finally:
            _delete(staged)

    def staged_file(self) -> Path:
        """Where a file can be written that is not to outlive the process."""
        return self._staging / uuid.uuid4().hex

    def place(self, staged: Path, name: str) -> None:
        """Make a staged folder the collection of that name, of which there is none."""
        move(staged, self._collections / name)

    def replace(self, staged: Path, name: str, *, keep_old: bool = False) -> None:
        """Make a staged folder the collection of that name; the old one is removed, or kept in `damaged`."""
        final = self._staging / f"{name}.{_SALVAGED if keep_old else _RESTORED}"
        move(staged, final)
        _delete(self._finish(final))

    def rename(self, source: str, name: str) -> None:
        """Make one collection's folder that of another name, whose own is removed."""
        self.replace(self._collections / source, name)

    def remove(self, name: str) -> None:
        """Remove a collection's folder. Raises `OSError` with the folder in its place."""
        _delete(self._to_trash(name))

    def _finish(self, staged: Path) -> Path | None:
        """Put a complete folder in its place; return where the old one is, if nobody wants that."""
        name, unwanted = staged.stem, None
        if (self._collections / name).exists():
            if staged.suffix == f".{_SALVAGED}":
                make_directory(self._damaged)
                kept = self._damaged / f"{name}.{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"
                move(self._collections / name, kept)
                _logger.warning(
                    "the damaged files of collection %s are kept in %s",
                    logged_name(name),
                    kept if names_are_shown() else self._damaged,
                )
            else:
                unwanted = self._to_trash(name)
        move(staged, self._collections / name)
        return unwanted

    def _to_trash(self, name: str) -> Path:
        unwanted = self._trash / uuid.uuid4().hex
        move(self._collections / name, unwanted)
        return unwanted


def collections_in(data_dir: Path) -> dict[str, Path]:
    """Where the collections of a data directory lie, by name, for those who change nothing in it.

    One that shall replace another, which a crash kept from it, counts as if it had.
    """
    found = {folder.name: folder for folder in (data_dir / "collections").iterdir() if _holds_one(folder)}
    for kind in (_RESTORED, _SALVAGED):
        staged = (data_dir / "staging").glob(f"*.{kind}")
        found |= {folder.stem: folder for folder in staged if is_name(folder.stem)}
    return found


def _holds_one(folder: Path) -> bool:
    return is_name(folder.name) and folder.is_dir() and any(folder.iterdir())


def _delete(unwanted: Path | None) -> None:
    """Delete a folder in the trash; what the disk refuses to delete is there for the next opening."""
    if unwanted is not None:
        shutil.rmtree(unwanted, ignore_errors=True)
