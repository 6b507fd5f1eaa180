"""The teacher's replies on disk, by what was asked: a rerun costs nothing, an interrupted run goes on."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY,
    answer TEXT NOT NULL,
    problem TEXT NOT NULL,
    reply TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    seconds REAL NOT NULL
)
"""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of asking the teacher one query.

    `answer` is empty where every attempt was malformed; `problem` then says why, and `reply` is the last
    text. Tokens and seconds are of all attempts together.
    """

    answer: str
    problem: str
    reply: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float


def reply_key(model: str, prompt_version: str, settings: str, text: str, image: bytes | None) -> str:
    """The SHA-256 of everything that the reply depends on; an image counts by its bytes, not its path."""
    picture = hashlib.sha256(image).hexdigest() if image is not None else None
    return hashlib.sha256(json.dumps([model, prompt_version, settings, text, picture]).encode()).hexdigest()


class ReplyCache:
    """A SQLite file of replies; every reply is on disk when `put` returns."""

    def __init__(self, path: Path) -> None:
        """Raises ValueError for a file that is no such cache."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(path, timeout=30)
        try:
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute(_SCHEMA)
        except sqlite3.DatabaseError as error:
            self._database.close()
            raise ValueError(f"{path} is no reply cache ({error}); give another --cache file.") from error

    def get(self, key: str) -> Reply | None:
        """The stored reply, if there is one."""
        row = self._database.execute(
            "SELECT answer, problem, reply, prompt_tokens, completion_tokens, seconds FROM replies "
            "WHERE key = ?",
            (key,),
        ).fetchone()
        return Reply(*row) if row else None

    def put(self, key: str, reply: Reply) -> None:
        """Store a reply in place of an older one."""
        with self._database:
            self._database.execute(
                "INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    key,
                    reply.answer,
                    reply.problem,
                    reply.reply,
                    reply.prompt_tokens,
                    reply.completion_tokens,
                    reply.seconds,
                ),
            )

    def close(self) -> None:
        """Release the file."""
        self._database.close()
