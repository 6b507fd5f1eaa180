"""What can still be had of a damaged log, written to a new one, and the names of what cannot.

A document is kept if its row, its vector and its image are there and have the right checksums, and if the
journal knows of no later change to it: nothing that was deleted or replaced may come back with an old
page. Documents are looked up by row key; those that this does not lead to, as a page above them is damaged,
are taken from the pages of the file (`index.carving`). Whatever else any part of the log names is lost: ids
stand in the documents' rows, in the index over them, and in the journal. What the log only counted is
reported by number.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Set
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from index.building import LogBuilder, open_source
from index.carving import Carving
from index.journal import Journal, read_journal
from index.records import Record, read_losses, read_record
from index.schema import (
    ID_INDEX,
    PAGE_SIZE,
    SCHEMA,
    UNREADABLE,
    LogSettings,
    read_settings,
    storage_errors,
)
from index.types import DamagedLog, Loss

_LONGEST_GAP = 5_000_000  # row keys tried one by one where a table cannot be walked

_BLOBS = ("SELECT vector FROM vectors WHERE row = ?", "SELECT data FROM images WHERE row = ?")

Latest = dict[str, tuple[int, bool]]  # by id: the number of its last change, and whether that deleted it


@dataclass(slots=True)
class _Findings:
    """What reading a damaged log has come to so far."""

    kept: dict[str, int] = field(default_factory=dict)  # row keys of sound documents, by id
    unsound: dict[int, set[str]] = field(default_factory=dict)  # what ids the others may have had, by row key
    # The row keys that each b-tree has: the index of ids, the documents and the vectors.
    named: list[Set[int]] = field(default_factory=list)
    whole: bool = True  # whether every table could be walked from end to end
    totals: tuple[int, int] | None = None  # how many documents the log counted, and their digest
    sequence: int = 0


def salvage(path: Path, journal_path: Path, target: Path) -> tuple[int, list[Loss]]:
    """Write what is sound of a damaged log to a new one; return how many documents, and what is lost.

    Raises `DamagedLog` if neither the log nor the journal tells what the collection was made with, and
    `StorageError` if the disk has no room for the new log.
    """
    journal = read_journal(journal_path)
    source = _open(path, target.with_name("first-page-replaced.sqlite3"))
    with closing(source):
        settings = _settings(source, path, journal)
        if journal is not None and journal.settings.uuid != settings.uuid:
            journal = None
        with LogBuilder(target, settings) as builder:
            findings = _Findings()
            _read_totals(source, findings)
            for record in _sound_records(source, findings, settings.dimensions):
                _keep(record, findings, builder)
            for record in _carved_records(source, path, findings, settings.dimensions):
                _keep(record, findings, builder)
            losses = _settle(findings, journal, builder)
            losses = [*_earlier_losses(source, findings, losses), *losses]
            last_row = max(findings.kept.values(), default=0)
            builder.finish(max(findings.sequence, last_row, journal.sequence if journal else 0), losses)
    return len(findings.kept), losses


def _open(path: Path, repaired: Path) -> sqlite3.Connection:
    """Open the damaged log, by way of a copy with a new first page if its own tells SQLite nothing."""
    try:
        return _readable(path)
    except (*UNREADABLE, DamagedLog):
        pass
    # The first page holds the file's header and the schema, which are the same in all logs of a format, for
    # all of them are made by the same statements.
    with storage_errors(path), LogBuilder(repaired, LogSettings.new(1, "")) as builder:
        builder.finish(0)
    first_pages = repaired.stat().st_size // PAGE_SIZE  # what the schema speaks of must lie within the file
    pages = max(path.stat().st_size // PAGE_SIZE, first_pages)
    page = bytearray(repaired.read_bytes()[:PAGE_SIZE])
    page[28:32] = pages.to_bytes(4, "big")  # how many pages the file has
    shutil.copyfile(path, repaired)
    with suppress(OSError):
        shutil.copyfile(_wal(path), _wal(repaired))
    with open(repaired, "r+b") as file:
        file.truncate(pages * PAGE_SIZE)
        file.write(page)
    try:
        return _readable(repaired)
    except (*UNREADABLE, DamagedLog):
        repaired.unlink()
        _wal(repaired).unlink(missing_ok=True)
        return sqlite3.connect(":memory:")  # has no tables, so that every walk over it ends at once


def _readable(path: Path) -> sqlite3.Connection:
    """Open a log whose schema can be read, whatever else of it cannot."""
    source = open_source(path)
    try:
        found = {sql for (sql,) in source.execute("SELECT sql FROM sqlite_master WHERE type = 'table'")}
        if found != {statement.encode() for statement in SCHEMA}:
            raise DamagedLog(f"The document log {path.name} has tables without checksums, or none.")
    except BaseException:
        source.close()
        raise
    return source


def _wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _settings(source: sqlite3.Connection, path: Path, journal: Journal | None) -> LogSettings:
    try:
        return read_settings(source, path)
    except (*UNREADABLE, DamagedLog) as error:
        if journal is not None:
            return journal.settings
        raise DamagedLog(
            f"Nothing can be salvaged of the document log {path.name}: neither it nor its journal tells what "
            "the collection was made with. Restore a backup, or drop the collection."
        ) from error


def _read_totals(source: sqlite3.Connection, findings: _Findings) -> None:
    with suppress(*UNREADABLE, TypeError, ValueError):
        query = "SELECT sequence, documents, digest FROM collection"
        sequence, documents, digest = source.execute(query).fetchone()
        findings.sequence, findings.totals = int(sequence), (int(documents), int(digest))


def _sound_records(source: sqlite3.Connection, findings: _Findings, dimensions: int) -> Iterator[Record]:
    """Every sound document, by row key; on the way, what the log names the others."""
    indexed = _ids_by_index(source, findings)
    findings.named.append(indexed.keys())
    for row in sorted(indexed.keys() | _row_keys(source, findings)):
        try:
            record = read_record(source, row, dimensions, indexed.get(row))
        except UNREADABLE:
            record = None
        if record is not None:
            yield record
            continue
        names = findings.unsound.setdefault(row, set())
        if row in indexed:
            names.add(indexed[row].decode(errors="replace"))
        with suppress(*UNREADABLE, AttributeError, TypeError):
            (document_id,) = source.execute("SELECT id FROM documents WHERE row = ?", (row,)).fetchone()
            names.add(document_id.decode(errors="replace"))


def _carved_records(
    source: sqlite3.Connection, path: Path, findings: _Findings, dimensions: int
) -> Iterator[Record]:
    """Those documents that were not sound where the b-trees lead, and that are somewhere in the file.

    Pages that were freed have rows that were deleted, and a damaged b-tree may lead to them; so a row is
    live only if two of the three name it.
    """
    index, documents, vectors = findings.named
    live = (index & documents) | (index & vectors) | (documents & vectors)
    wanted = live & findings.unsound.keys()
    if not wanted:
        return
    with suppress(OSError), Carving(path, _wal(path), wanted) as carving:
        for row in sorted(wanted):
            vector, image = (_blob(source, query, row) for query in _BLOBS)
            record = carving.record(row, dimensions, vector, image)
            if record is not None:
                del findings.unsound[row]
                yield record


def _blob(source: sqlite3.Connection, query: str, row: int) -> object:
    with suppress(*UNREADABLE, TypeError):
        return source.execute(query, (row,)).fetchone()[0]
    return None


def _keep(record: Record, findings: _Findings, builder: LogBuilder) -> None:
    """Write a document, unless it is there from a later row."""
    other = findings.kept.get(record.id)
    if other is not None and other > record.row:
        return
    if other is not None:
        builder.remove(other)
    builder.add(record)
    findings.kept[record.id] = record.row


def _ids_by_index(source: sqlite3.Connection, findings: _Findings) -> dict[int, bytes]:
    """What the index over the ids says, which is a second copy of them: ids by row key."""
    query = f"SELECT row, id FROM documents INDEXED BY {ID_INDEX} ORDER BY id"
    entries, whole = _read(source, query)
    if not whole:
        findings.whole = False
        entries += _read(source, f"{query} DESC")[0]
    return {row: document_id for row, document_id in entries if isinstance(document_id, bytes)}


def _row_keys(source: sqlite3.Connection, findings: _Findings) -> set[int]:
    """Every row key in any table, and all between where a table cannot be walked from either end."""
    keys: set[int] = set()
    for table in ("documents", "vectors"):
        query = f"SELECT row FROM {table} NOT INDEXED ORDER BY row"
        entries, whole = _read(source, query)
        ascending = [row for (row,) in entries]
        named = set(ascending)
        findings.named.append(named)
        if not whole:
            findings.whole = False
            descending = [row for (row,) in _read(source, f"{query} DESC")[0]]
            named.update(descending)
            first = max(ascending, default=0) + 1
            last = min(descending, default=findings.sequence + 1)
            keys.update(range(first, min(last, first + _LONGEST_GAP)))
        keys |= named
    return keys


def _read(source: sqlite3.Connection, query: str) -> tuple[list[Any], bool]:
    """The rows up to where the database cannot be read, and whether that is all of them."""
    found = []
    try:
        for row in source.execute(query):
            found.append(row)  # one by one: what came before an error counts
    except UNREADABLE:
        return found, False
    return found, True


def _earlier_losses(source: sqlite3.Connection, findings: _Findings, losses: list[Loss]) -> list[Loss]:
    """What earlier damage had cost the collection and was not written again, as far as that can be read."""
    told = findings.kept.keys() | {loss.id for loss in losses if loss.id is not None}
    earlier: list[Loss] = []
    with suppress(*UNREADABLE, UnicodeDecodeError, AttributeError):
        for loss in read_losses(source):
            if loss.id is None or loss.id not in told:
                earlier.append(loss)
    return earlier


def _settle(findings: _Findings, journal: Journal | None, builder: LogBuilder) -> list[Loss]:
    """Drop what the journal knows to be out of date; return what is lost."""
    if builder.totals == findings.totals:
        findings.unsound.clear()  # nothing is missing: what else was named were wrong names
    noticed = datetime.now(UTC).isoformat()
    latest = _latest(journal)
    sound = set(findings.kept)
    for document_id, row in list(findings.kept.items()):
        if row < latest.get(document_id, (0, False))[0]:
            builder.remove(findings.kept.pop(document_id))
    deleted = {name for name, (_, is_deleted) in latest.items() if is_deleted}
    named = [names for names in findings.unsound.values() if names and not names & (sound | deleted)]
    lost = {name for names in named for name in names if len(names) == 1}
    lost |= latest.keys() - deleted - findings.kept.keys()
    losses = [Loss(name, "what the disk held of it was damaged", noticed) for name in sorted(lost)]
    for names in named:
        if len(names) > 1:
            losses.append(Loss(None, f"its id was damaged too, and is one of {sorted(names)}", noticed))
    nameless = len(findings.unsound) - len(named)
    if not findings.whole and findings.totals is not None:
        nameless = min(nameless, findings.totals[0] - len(sound) - len(named))
    if nameless > 0:
        losses.append(Loss(None, "what the disk held of them was damaged, ids included", noticed, nameless))
    return losses + _unknown_changes(findings, journal, noticed)


def _unknown_changes(findings: _Findings, journal: Journal | None, noticed: str) -> list[Loss]:
    """A loss that stands for the changes of which the journal has the number alone, if there are any."""
    if journal is None:
        return []
    known = sum(
        len(range(max(change.first, findings.sequence + 1), change.sequence + 1))
        for change in journal.changes
    )
    missing = journal.sequence - findings.sequence - known
    if missing <= 0:
        return []
    reason = f"of the changes up to {journal.base}, the last {missing} or more are missing"
    return [Loss(None, reason, noticed, missing)]


def _latest(journal: Journal | None) -> Latest:
    latest: Latest = {}
    for change in journal.changes if journal is not None else ():
        if change.deleted:
            latest[change.ids[0]] = (change.sequence, True)
        else:
            latest.update((name, (row, False)) for row, name in zip(change.rows(), change.ids, strict=True))
    return latest
