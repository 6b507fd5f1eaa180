"""Opening a collection whatever state its files are in: as it is, migrated, or salvaged."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from index.collection import LOG_FILE, Collection
from index.folders import Folders
from index.journal import read_journal
from index.log import JOURNAL_FILE
from index.log_names import logged_error, logged_name, names_are_shown
from index.migration import is_outdated, migrate
from index.salvage import salvage
from index.types import DamagedLog, MissingLog
from index.wal import mend_wal

_NAMED_IN_LOG = 20  # lost documents; `DocumentLog.losses` has them all

_logger = logging.getLogger(__name__)


def open_collection(folders: Folders, name: str, make: Callable[[Path], Collection]) -> Collection:
    """Open a collection with `make`; one of an earlier format is migrated first, a damaged one salvaged.

    Raises `DamagedLog` if nothing can be salvaged, `MissingLog` if there is no log, `StorageError` for what
    the disk refuses.
    """
    folder = folders.folder(name)
    if not (folder / LOG_FILE).exists():  # which no crash does, so that it may only have been put elsewhere
        raise MissingLog(
            f"The document log {LOG_FILE} is missing. Put it back, restore a backup "
            f"(`solomon index restore FILE --name {name} --replace`), or drop the collection."
        )
    _mend_wal(folder, name)
    try:
        if is_outdated(folder / LOG_FILE):
            _migrate(folders, name)
        return make(folder)
    except DamagedLog as damage:
        salvage_collection(folders, name, damage)
        return make(folder)


def salvage_collection(folders: Folders, name: str, damage: DamagedLog) -> None:
    """Put what is sound of a closed collection in its place, and keep the damaged files in `damaged`."""
    found = logged_error(damage)
    _logger.error("collection %s is damaged (%s); recovering what is sound", logged_name(name), found)
    folder = folders.folder(name)
    with folders.staged() as staged:
        kept, losses = salvage(folder / LOG_FILE, folder / JOURNAL_FILE, staged / LOG_FILE)
        for leftover in set(staged.iterdir()) - {staged / LOG_FILE}:
            leftover.unlink()
        folders.replace(staged, name, keep_old=True)
    lost = sum(loss.documents for loss in losses)
    told = losses if names_are_shown() else []
    names = [loss.id or f"{loss.documents} without a name ({loss.reason})" for loss in told]
    more = f" and {len(names) - _NAMED_IN_LOG} more" if len(names) > _NAMED_IN_LOG else ""
    _logger.error(
        "collection %s: %d documents recovered, %d lost to damage%s%s; `solomon index verify` lists them",
        logged_name(name),
        kept,
        lost,
        ": " + ", ".join(names[:_NAMED_IN_LOG]) if names else "",
        more,
    )


def _mend_wal(folder: Path, name: str) -> None:
    journal = read_journal(folder / JOURNAL_FILE)
    if journal is None:
        return
    mending = mend_wal(folder / f"{LOG_FILE}-wal", journal.in_latest_wal, journal.salts)
    if mending is not None:
        _logger.error(
            "collection %s: its write-ahead log was damaged; %d pages were put right, %d could not be",
            logged_name(name),
            mending.corrected,
            mending.doubtful,
        )


def _migrate(folders: Folders, name: str) -> None:
    _logger.info("collection %s: migrating its log to the present format", logged_name(name))
    with folders.staged() as staged:
        migrate(folders.folder(name) / LOG_FILE, staged / LOG_FILE)
        folders.replace(staged, name)
