"""The change journal: which ids each recent change wrote or deleted, in a file beside the log.

SQLite drops the end of its write-ahead log in silence where a frame's checksum is wrong, because to SQLite
that is how a write that a crash cut short looks. Changes that were acknowledged would vanish, and
deleted documents come back. So each change is put on disk a second time, by id alone, after it is committed
and before it is acknowledged. A log that has not come as far as its journal is damaged, and the journal
tells which documents that concerns. It is emptied whenever the write-ahead log is.

One record a line: CRC-32 (eight hexadecimal digits), a space, JSON. The first line is the header. A last
line without its line feed was cut short by a crash, and was not acknowledged.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any
from zlib import crc32

from index.files import replace_file
from index.log_names import logged_error, logged_name, names_are_shown
from index.schema import LogSettings
from index.wal import wal_salts

FORMAT = 1

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """An acknowledged change that ended with number `sequence`.

    A write of n ids gave them the row keys `sequence - n + 1` to `sequence`; a delete removed its one id.
    `salts` tell the write-ahead log that took it from those that came before and after in the same file.
    """

    sequence: int
    ids: Sequence[str]
    deleted: bool
    salts: str = ""

    @property
    def first(self) -> int:
        """The first number of the change."""
        return self.sequence - len(self.ids) + 1

    def rows(self) -> range:
        """The row keys of a write's ids, in their order."""
        return range(self.first, self.sequence + 1)


@dataclass(frozen=True, slots=True)
class Journal:
    """What a journal's file says: of which log it is, and the changes since the log was at `base`."""

    settings: LogSettings
    base: int
    changes: Sequence[Change]
    damaged: bool

    @property
    def sequence(self) -> int:
        """The latest acknowledged change that it knows of."""
        return max([self.base, *(change.sequence for change in self.changes)])

    @property
    def salts(self) -> bytes:
        """The salts of the write-ahead log that took the latest change; empty if there is none."""
        return bytes.fromhex(self.changes[-1].salts) if self.changes else b""

    @property
    def in_latest_wal(self) -> int:
        """How many of the changes, the latest ones, the same write-ahead log took.

        SQLite begins it anew by itself once a checkpoint has moved all of it and the last reader has left.
        """
        latest = self.changes[-1].salts if self.changes else ""
        return sum(1 for _ in takewhile(lambda change: change.salts == latest, reversed(self.changes)))


class ChangeJournal:
    """Appends to the journal of an open log; one writer at a time.

    The log itself is safe without it, so a disk that refuses costs the journal and never the write:
    that is logged, and the journal is made anew when it is emptied next.
    """

    def __init__(self, path: Path, settings: LogSettings, wal: Path) -> None:
        """Take up appending to a journal that `restart` has made, or make it if it is not there.

        `wal` is the log's write-ahead log.
        """
        self._path = path
        self._wal = wal
        self._settings = settings
        self._file = -1

    def restart(self, sequence: int) -> None:
        """Empty the journal: the log proper holds every change up to `sequence`."""
        self.close()
        header = {"format": FORMAT, "base": sequence, **asdict(self._settings)}
        try:
            replace_file(self._path, [_line(header)])
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        except OSError as error:
            self._give_up(error)

    def resume(self) -> None:
        """Go on with the journal as it is, past what a crash cut short."""
        try:
            content = self._path.read_bytes()
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            os.ftruncate(self._file, content.rfind(b"\n") + 1)
        except OSError as error:
            self._give_up(error)

    def wrote(self, ids: Sequence[str], sequence: int) -> None:
        """Note a committed write whose last row key is `sequence`; it is on disk when this returns."""
        self._append({"s": sequence, "put": list(ids)})

    def deleted(self, document_id: str, sequence: int) -> None:
        """Note a committed delete; it is on disk when this returns."""
        self._append({"s": sequence, "del": document_id})

    def close(self) -> None:
        """Let go of the file. Closing twice is harmless."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _append(self, record: dict[str, Any]) -> None:
        if self._file < 0:
            return
        try:
            line = _line(record | {"wal": wal_salts(self._wal).hex()})
            if os.write(self._file, line) < len(line):
                raise OSError("the disk is full")
            os.fdatasync(self._file)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Do without a journal until the next `restart`: one that lacks changes would be worse than none."""
        _logger.warning(
            "no change journal %s until the next checkpoint: %s", _told(self._path), logged_error(error)
        )
        self.close()
        with suppress(OSError):
            os.truncate(self._path, 0)


def read_journal(path: Path) -> Journal | None:
    """What the journal says; None, and a warning, if it is missing or its header is damaged."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            _logger.warning("the change journal %s cannot be read: %s", _told(path), logged_error(error))
        return None
    records = [_parse(line) for line in lines if line.endswith(b"\n")]
    if not records:
        return None  # given up
    try:
        header = dict(records[0] or {})
        if header.pop("format") != FORMAT:
            raise ValueError("another format")
        base = int(header.pop("base"))
        settings = LogSettings(**header)
    except (KeyError, TypeError, ValueError) as error:
        _logger.warning("the change journal %s is damaged and is not used: %r", _told(path), error)
        return None
    changes = [_change(record) for record in records[1:] if record is not None]
    damaged = None in records
    if damaged:
        _logger.warning(
            "the change journal %s is damaged; %d of its lines are sound", _told(path), len(changes)
        )
    return Journal(settings, base, changes, damaged)


def _told(path: Path) -> str:
    """A journal's path for a log; the folder that it is in has the collection's name."""
    return str(path) if names_are_shown() else f"of collection {logged_name(path.parent.name)}"


def _line(record: dict[str, Any]) -> bytes:
    encoded = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()
    return b"%08x %s\n" % (crc32(encoded), encoded)


def _parse(line: bytes) -> dict[str, Any] | None:
    checksum, _, encoded = line.rstrip(b"\n").partition(b" ")
    if checksum != b"%08x" % crc32(encoded):
        return None
    parsed: dict[str, Any] = json.loads(encoded)
    return parsed


def _change(record: dict[str, Any]) -> Change:
    if "del" in record:
        return Change(record["s"], (record["del"],), deleted=True, salts=record.get("wal", ""))
    return Change(record["s"], tuple(record["put"]), deleted=False, salts=record.get("wal", ""))
