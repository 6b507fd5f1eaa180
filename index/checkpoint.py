"""Emptying the write-ahead log, and with it the journal of changes.

A write that finds it grown begins that and returns: what it wrote is on disk already. The next write waits
for the end of it, so nothing else uses the writer's connection or the journal meanwhile, and a crash finds
what it would find if the first had waited.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from contextlib import suppress
from pathlib import Path

from index.journal import ChangeJournal
from index.log_names import logged_error, logged_name, names_are_shown

CHECKPOINT_BYTES = 64 * 2**20  # of write-ahead log, from which it is moved into the database

_WAIT_MS = 1000  # for reads under way; a longer one puts the checkpoint off

_logger = logging.getLogger(__name__)


class Checkpointer:
    """Moves a log's write-ahead log into its database, whole, when it has grown; called by the one writer.

    The writer calls `wait` before it uses the connection.

    Its frames must not stay behind in the file once the database has them: one damaged frame would make
    SQLite take up the older frames alone, over newer pages. So it is always truncated, never left over.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, journal: ChangeJournal) -> None:
        """Watch the write-ahead log of the database that `connection` writes."""
        self._connection = connection
        self._wal_path = path.with_name(path.name + "-wal")
        self._journal = journal
        self._due_at = CHECKPOINT_BYTES
        self._running: threading.Thread | None = None

    def wal_bytes(self) -> int:
        """The size of the write-ahead log."""
        try:
            return self._wal_path.stat().st_size
        except FileNotFoundError:
            return 0

    def begin_if_due(self) -> None:
        """Begin to empty the write-ahead log if it has grown enough since the last try."""
        if self.wal_bytes() >= self._due_at:
            running = threading.Thread(target=self._run_due, name="checkpoint")
            try:
                running.start()
            except RuntimeError:  # no thread is to be had
                self._run_due()
            else:
                self._running = running

    def wait(self) -> None:
        """Wait for what was begun; the writer's connection is free then."""
        if self._running is not None:
            self._running.join()
            self._running = None

    def run(self) -> None:
        """Empty the write-ahead log; reads that last long, or a full disk, put that off and cost nothing."""
        try:
            self._connection.execute(f"PRAGMA busy_timeout = {_WAIT_MS}")
            busy, _, _ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if not busy:
                found = self._connection.execute("SELECT sequence FROM collection").fetchone()
                self._journal.restart(int(found[0]))
        except (sqlite3.DatabaseError, OSError) as error:
            name = self._wal_path.parent.name  # the collection's
            told = str(self._wal_path) if names_are_shown() else f"of collection {logged_name(name)}"
            _logger.warning("the write-ahead log %s could not be emptied: %s", told, logged_error(error))

    def _run_due(self) -> None:
        self.run()
        with suppress(OSError):
            self._due_at = self.wal_bytes() + CHECKPOINT_BYTES
