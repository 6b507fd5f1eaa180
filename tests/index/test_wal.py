"""Flipped bits in SQLite's write-ahead log are put right, or at least do not cost the frames behind them."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from index.schema import PAGE_SIZE, connect
from index.wal import mend_wal, wal_salts

TRANSACTIONS = 12
HEADER = 32
FRAME = 24 + PAGE_SIZE


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of which twelve transactions are in the write-ahead log alone."""
    live = tmp_path_factory.mktemp("live") / "db"
    left = tmp_path_factory.mktemp("left") / "db"
    setup = (f"PRAGMA page_size = {PAGE_SIZE}", "PRAGMA journal_mode = WAL", "PRAGMA wal_autocheckpoint = 0")
    with closing(connect(live, mode="rwc", setup=setup)) as connection:
        connection.execute("CREATE TABLE numbers (number INTEGER PRIMARY KEY, content BLOB)")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for number in range(TRANSACTIONS):
            connection.execute("INSERT INTO numbers VALUES (?, ?)", (number, bytes([number]) * 5000))
        shutil.copyfile(live, left)
        shutil.copyfile(wal_of(live), wal_of(left))
    return left


def wal_of(database: Path) -> Path:
    return database.with_name(f"{database.name}-wal")


def numbers(database: Path) -> list[int]:
    """What SQLite reads, with its own check; every content must be the number's."""
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        found = connection.execute("SELECT number, content FROM numbers ORDER BY number").fetchall()
    assert all(content == bytes([number]) * 5000 for number, content in found)
    return [number for number, _ in found]


@pytest.fixture
def copy(crashed: Path, tmp_path: Path) -> Path:
    fresh(crashed, tmp_path / "db")
    return tmp_path / "db"


def fresh(crashed: Path, target: Path) -> None:
    shutil.copyfile(crashed, target)
    shutil.copyfile(wal_of(crashed), wal_of(target))
    target.with_name(f"{target.name}-shm").unlink(missing_ok=True)


def flip(file: Path, bit: int) -> None:
    content = bytearray(file.read_bytes())
    content[bit // 8 % len(content)] ^= 1 << bit % 8
    file.write_bytes(content)


def test_what_is_whole_is_left_alone(copy: Path) -> None:
    before = wal_of(copy).read_bytes()
    assert mend_wal(wal_of(copy), TRANSACTIONS) is None
    assert wal_of(copy).read_bytes() == before
    assert numbers(copy) == list(range(TRANSACTIONS))


def frames_of(content: bytes) -> list[bytes]:
    """What counts of each frame: its page number, its commit mark and its page."""
    starts = range(HEADER, len(content), FRAME)
    return [content[start : start + 8] + content[start + 24 : start + FRAME] for start in starts]


def check_mended(crashed: Path, copy: Path, bit: int) -> bool:
    """Flip a bit and mend; every frame but the one that it hit must be as before, and that one no worse.

    Returns whether the bit was put right.
    """
    fresh(crashed, copy)
    flip(wal_of(copy), bit)
    original, flipped = wal_of(crashed).read_bytes(), wal_of(copy).read_bytes()
    mending = mend_wal(wal_of(copy), TRANSACTIONS)
    mended = wal_of(copy).read_bytes()
    assert len(mended) == len(original)
    assert mended[16:24] == original[16:24]  # the salts
    for before, hit, after in zip(*map(frames_of, (original, flipped, mended)), strict=True):
        assert after in (before, hit)
    right = frames_of(mended) == frames_of(original)
    assert right or (mending is not None and mending.doubtful == 1)
    if right:
        assert numbers(copy) == list(range(TRANSACTIONS))
    return right


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bit=st.integers(0, 2**40))
def test_a_flipped_bit_is_put_right_or_left_alone(crashed: Path, copy: Path, bit: int) -> None:
    check_mended(crashed, copy, bit)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(word=st.integers(0, 2**30), bit=st.integers(0, 15))
def test_the_lower_half_of_any_word_is_put_right(crashed: Path, copy: Path, word: int, bit: int) -> None:
    """All frames but the last, for which no other tells whether its checksum or its page was hit."""
    words = (wal_of(crashed).stat().st_size - FRAME - HEADER) // 4
    assert check_mended(crashed, copy, 8 * (HEADER + 4 * (word % words)) + bit)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bit=st.integers(0, 8 * 32 - 1))
def test_the_header_does_not_matter(crashed: Path, copy: Path, bit: int) -> None:
    assert check_mended(crashed, copy, bit)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 2**30), acknowledged=st.integers(1, TRANSACTIONS))
def test_what_was_not_acknowledged_is_not_brought_in_by_mending(
    crashed: Path, copy: Path, place: int, acknowledged: int
) -> None:
    """Behind the last acknowledged change, a wrong checksum is how an interrupted write looks."""
    fresh(crashed, copy)
    words = (wal_of(copy).stat().st_size - FRAME - HEADER) // 4
    flip(wal_of(copy), 8 * (HEADER + 4 * (place % words)))
    mended = mend_wal(wal_of(copy), acknowledged) is not None
    found = numbers(copy)
    assert found == list(range(len(found)))
    assert len(found) == acknowledged if mended else len(found) >= acknowledged


def test_without_mending_sqlite_drops_what_follows(copy: Path) -> None:
    """The reason for all of this."""
    flip(wal_of(copy), 8 * (wal_of(copy).stat().st_size // 2))
    assert numbers(copy) == list(range(len(numbers(copy))))
    assert len(numbers(copy)) < TRANSACTIONS


def test_a_page_beyond_repair_is_kept_for_the_rows_checksums(copy: Path) -> None:
    size = wal_of(copy).stat().st_size
    for bit in range(3):
        flip(wal_of(copy), 8 * (size // 2) + 999 * bit)
    before = wal_of(copy).read_bytes()
    mending = mend_wal(wal_of(copy), TRANSACTIONS)
    assert mending is not None
    assert (mending.corrected, mending.doubtful) == (0, 1)
    assert wal_of(copy).with_name("db-wal.damaged").read_bytes() == before
    assert wal_of(copy).stat().st_size == size


def test_a_log_that_has_begun_anew_is_no_damage(copy: Path) -> None:
    """Its changes of before are in the database, and what a crash cut short must not be made whole."""
    flip(wal_of(copy), 8 * (wal_of(copy).stat().st_size // 2))
    before = wal_of(copy).read_bytes()
    assert mend_wal(wal_of(copy), TRANSACTIONS, b"other...") is None
    assert wal_of(copy).read_bytes() == before
    assert mend_wal(wal_of(copy), TRANSACTIONS, wal_salts(wal_of(copy))) is not None
    assert numbers(copy) == list(range(TRANSACTIONS))
