"""Backups are whole and of one moment while writes go on; restoring trusts nothing unchecked."""

from __future__ import annotations

import random
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from index.collection import LOG_FILE, Collection
from index.records import blob_checksum, document_checksum
from index.schema import connect, read_settings
from index.store import FaissStore
from index.types import CollectionExists, Image, InvalidInput, KeptInFiles, StorageError, UnknownCollection
from tests.index.damage import flip_bits
from tests.index.documents import document, vector_of
from tests.index.format_1 import make_format_1


@pytest.fixture
def filled(store: FaissStore) -> FaissStore:
    store.upsert("things", [document(f"doc-{n}", f"text {n}", number=n) for n in range(200)])
    store.upsert("things", [document("pictured", image=Image(b"a picture" * 3000, "image/png"))])
    store.delete_document("things", "doc-7")
    return store


@pytest.fixture
def backup(filled: FaissStore, tmp_path: Path) -> Path:
    filled.backup("things", tmp_path / "things.backup")
    return tmp_path / "things.backup"


def contents(store: FaissStore, name: str) -> dict[str, object]:
    return {
        d.id: (d.text, d.metadata, d.image, d.vector.tobytes()) for batch in store.export(name) for d in batch
    }


def test_a_store_of_files_says_so(store: FaissStore) -> None:
    assert isinstance(store, KeptInFiles)


def test_a_backup_restores_everything(filled: FaissStore, backup: Path) -> None:
    info = filled.restore(backup, "copy")
    assert (info.count, info.dimensions, info.model) == (200, 8, "a-model")
    assert contents(filled, "copy") == contents(filled, "things")
    query = vector_of("text 3")
    assert [(h.document, h.score) for h in filled.search("copy", query, 9)] == [
        (h.document, h.score) for h in filled.search("things", query, 9)
    ]
    filled.upsert("copy", [document("doc-7")])  # the copy goes ways of its own
    assert filled.existing_ids("things", ["doc-7"]) == set()
    assert sorted(path.name for path in backup.parent.iterdir()) == ["data", "things.backup"]


def test_restoring_puts_the_collection_back_and_keeps_it_over_a_restart(
    filled: FaissStore, backup: Path, tmp_path: Path
) -> None:
    before = contents(filled, "things")
    filled.upsert("things", [document("later"), document("doc-1", "changed")])
    with pytest.raises(CollectionExists):
        filled.restore(backup)
    assert filled.existing_ids("things", ["later"]) == {"later"}
    assert filled.restore(backup, replace=True).name == "things"
    assert contents(filled, "things") == before
    filled.close()
    again = FaissStore(tmp_path / "data")
    assert contents(again, "things") == before
    again.close()


def test_a_backup_is_of_one_moment_while_writes_go_on(filled: FaissStore, tmp_path: Path) -> None:
    """Each write replaces the same documents with one version; a backup has a single version of them."""
    names = [f"fixed-{n}" for n in range(20)]
    filled.upsert("things", [document(name, version=0) for name in names])
    stop = threading.Event()

    def write() -> None:
        version = 0
        while not stop.is_set():
            version += 1
            filled.upsert("things", [document(name, version=version) for name in names])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(4):
            filled.backup("things", tmp_path / f"{number}.backup")
    finally:
        stop.set()
        writer.join()
    for number in range(4):
        filled.restore(tmp_path / f"{number}.backup", "copy", replace=True)
        versions = {filled.get_document("copy", name).metadata["version"] for name in names}
        assert len(versions) == 1
        assert filled.get("copy").count == 220


def test_calls_go_on_while_a_collection_is_replaced(filled: FaissStore, backup: Path) -> None:
    stop = threading.Event()
    failures: list[Exception] = []

    def read() -> None:
        while not stop.is_set():
            try:
                assert filled.search("things", vector_of("text 3"), 1)[0].document.id == "doc-3"
                assert filled.get_document("things", "pictured").image_media_type == "image/png"
            except Exception as error:
                failures.append(error)
                return

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(3):
            filled.restore(backup, "things", replace=True)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert failures == []


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_backup_is_refused_or_was_hit_where_nothing_is(
    filled: FaissStore, backup: Path, seed: int
) -> None:
    flip_bits(backup, random.Random(seed))
    before = contents(filled, "things")
    try:
        filled.restore(backup, "copy")
    except InvalidInput:
        with pytest.raises(UnknownCollection):
            filled.get("copy")
    else:
        assert contents(filled, "copy") == before


def spoilt(backup: Path, *statements: str) -> None:
    with closing(sqlite3.connect(backup)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        for statement in statements:
            connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER harm AFTER INSERT ON documents BEGIN DELETE FROM documents; END",
        "CREATE VIEW harm AS SELECT * FROM documents",
        "ALTER TABLE documents ADD COLUMN harm TEXT",
        "UPDATE sqlite_master SET type = 'view', rootpage = 0, sql = 'CREATE VIEW images AS SELECT 1' "
        "WHERE name = 'images'",
        "UPDATE collection SET format = 3",
        "UPDATE collection SET model = 'another'",
        "DELETE FROM documents WHERE row = 5",
        "DELETE FROM images",
    ],
)
def test_a_prepared_file_is_refused(filled: FaissStore, backup: Path, statement: str) -> None:
    spoilt(backup, statement)
    with pytest.raises((InvalidInput, StorageError)):
        filled.restore(backup, "copy")
    with pytest.raises(UnknownCollection):
        filled.get("copy")


class Edited:
    """A backup that was edited by hand, by someone who knows its checksums."""

    def __init__(self, backup: Path) -> None:
        self.backup = backup

    def document(self, row: int, **values: str | None) -> None:
        """Change columns of a document."""
        with closing(sqlite3.connect(self.backup)) as log:
            query = "SELECT id, text, metadata, image_media_type, checksum FROM documents WHERE row = ?"
            *columns, before = log.execute(query, (row,)).fetchone()
            names = ("id", "text", "metadata", "image_media_type")
            given = dict(zip(names, columns, strict=True)) | values
            encoded = [None if value is None else value.encode() for value in given.values()]
            checksum = document_checksum(row, *encoded)
            log.execute(
                "UPDATE documents SET id = ?, text = ?, metadata = ?, image_media_type = ?, checksum = ? "
                "WHERE row = ?",
                (*given.values(), checksum, row),
            )
            log.execute("UPDATE collection SET digest = digest + ?", (checksum - before,))
            log.commit()

    def vector(self, row: int, vector: list[float]) -> None:
        """Change a document's vector."""
        blob = np.array(vector, "<f4").tobytes()
        with closing(sqlite3.connect(self.backup)) as log:
            log.execute(
                "UPDATE vectors SET vector = ?, checksum = ? WHERE row = ?",
                (blob, blob_checksum(row, blob), row),
            )
            log.commit()

    def dimensions(self, dimensions: int) -> None:
        """Change the length that its vectors are said to have."""
        with closing(connect(self.backup, setup=())) as log:
            settings = replace(read_settings(log, self.backup), dimensions=dimensions)
            values = (dimensions, settings.checksum())
            log.execute("UPDATE collection SET dimensions = ?, settings_checksum = ?", values)

    def untyped(self, statement: str) -> None:
        """Change what the tables' types forbid, by leaving them out for a moment."""
        find, put = "sqlite_master SET sql = replace(sql,", "WHERE type = 'table'"
        loose = f"UPDATE {find} ') STRICT', ')') {put}"
        with closing(sqlite3.connect(self.backup)) as database:
            kept = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
            database.execute("PRAGMA writable_schema = ON")
            database.execute(loose)
            database.execute("UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '') " + put)
            database.commit()
        with closing(sqlite3.connect(self.backup)) as database:
            database.execute(statement)
            database.execute("PRAGMA writable_schema = ON")
            database.executemany("UPDATE sqlite_master SET sql = ? WHERE name = ?", ((b, a) for a, b in kept))
            database.commit()

    def execute(self, *statements: str) -> None:
        """Change whatever statements do."""
        spoilt(self.backup, *statements)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda edited: edited.document(5, id="../escape"), r"documents\[row 5\]\.id must not hold '\.'"),
        (lambda edited: edited.document(5, id=""), r"documents\[row 5\]\.id must be a string of 1 to"),
        (lambda edited: edited.document(5, id="two\nlines"), r"\[row 5\]\.id must not hold control"),
        (lambda edited: edited.document(5, metadata="[1]"), r"\[row 5\]\.metadata must be an object"),
        (lambda edited: edited.document(5, metadata="{"), r"\[row 5\]\.metadata is not JSON"),
        (lambda edited: edited.document(5, metadata="[" * 100_000), r"\[row 5\]\.metadata is not JSON"),
        (lambda edited: edited.document(5, metadata='{"a":NaN}'), r"metadata\.a must be a finite number"),
        (lambda edited: edited.document(5, metadata='{"a":{}}'), r"metadata\.a must be a string, number"),
        (lambda edited: edited.document(5, metadata='{"$or":1}'), r"must not begin with '\$'"),
        (lambda edited: edited.document(201, image_media_type="text/html"), r"\[row 201\]\.image is called"),
        (lambda edited: edited.vector(5, [float("nan")] * 8), r"\[row 5\]\.vector must hold finite numbers"),
        (lambda edited: edited.vector(5, [0.0] * 8), r"\[row 5\]\.vector has length zero"),
        (lambda edited: edited.vector(5, [3.0] + [0.0] * 7), r"\[row 5\]\.vector has the length 3 "),
        (lambda edited: edited.vector(5, [1.0] * 7), r"row 5 of vectors is not as it was written"),
        (lambda edited: edited.dimensions(0), "dimensions must be a whole number from 1 to"),
        (lambda edited: edited.dimensions(4), "row 1 of vectors is not as it was written"),
        (
            lambda edited: edited.execute("UPDATE collection SET sequence = 9"),
            "rows 1 to 201, and they belong",
        ),
        (lambda edited: edited.execute(f"UPDATE collection SET sequence = {2**63 - 1}"), "has the number 9"),
        (lambda edited: edited.untyped("UPDATE collection SET sequence = 'many'"), "has the number b'many'"),
        (lambda edited: edited.untyped("UPDATE collection SET sequence = NULL"), "has the number None"),
    ],
)
def test_what_a_write_would_refuse_is_refused_by_what_is_wrong_with_it(
    filled: FaissStore, backup: Path, edit: Callable[[Edited], None], reason: str
) -> None:
    edit(Edited(backup))
    with pytest.raises(InvalidInput, match=reason) as refused:
        filled.restore(backup, "copy")
    assert refused.value.field == "backup"
    assert str(refused.value).startswith("backup ")
    with pytest.raises(UnknownCollection):
        filled.get("copy")


def test_a_row_below_the_first_is_refused_and_not_passed_over(filled: FaissStore, backup: Path) -> None:
    edited = Edited(backup)
    edited.execute(*(f"UPDATE {table} SET row = -5 WHERE row = 5" for table in ("documents", "vectors")))
    edited.document(-5)
    with pytest.raises(InvalidInput, match="rows -5 to 201"):
        filled.restore(backup, "copy")


def test_metadata_that_was_written_otherwise_is_stored_as_a_write_would(
    filled: FaissStore, backup: Path
) -> None:
    Edited(backup).document(5, metadata='{ "a": 1.50, "a": "last" }')
    filled.restore(backup, "copy")
    assert filled.get_document("copy", "doc-4").metadata == {"a": "last"}
    assert filled.verify("copy").damage == []
    filled.backup("copy", backup.with_name("again"))
    with closing(sqlite3.connect(backup.with_name("again"))) as log:
        assert log.execute("SELECT metadata FROM documents WHERE row = 5").fetchone() == ('{"a":"last"}',)


def test_a_log_of_format_1_is_held_to_the_same(store: FaissStore, tmp_path: Path) -> None:
    make_format_1(tmp_path / "log", [document("sound"), document("../escape")])
    with pytest.raises(InvalidInput, match=r"documents\[row 5\]\.id must not hold"):
        store.restore(tmp_path / "log", "old")


@pytest.mark.parametrize("content", [b"", b"no database" * 1000, b"SQLite format 3\x00" + bytes(5000)])
def test_what_is_no_backup_is_refused(store: FaissStore, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(InvalidInput, match="backup"):
        store.restore(tmp_path / "file", "copy")


def test_a_backup_without_a_label_needs_a_name(filled: FaissStore, backup: Path) -> None:
    spoilt(backup, "DROP TABLE backup")
    with pytest.raises(InvalidInput, match="name is missing"):
        filled.restore(backup)
    assert filled.restore(backup, "copy").count == 200


def test_a_log_of_format_1_can_be_restored(store: FaissStore, tmp_path: Path) -> None:
    documents = [document(f"doc-{n}", f"text {n}", number=n) for n in range(30)]
    make_format_1(tmp_path / "old" / LOG_FILE, documents)
    assert store.restore(tmp_path / "old" / LOG_FILE, "old").count == 30
    assert store.get_document("old", "doc-3").metadata == {"number": 3}
    assert store.verify("old").damage == []
    store.restore(tmp_path / "old" / LOG_FILE, "twin")
    old, twin = (store._collection(name)._log.settings for name in ("old", "twin"))
    assert old.uuid != twin.uuid
    assert (old.dimensions, old.model, old.created) == (twin.dimensions, twin.model, twin.created)


def test_a_backup_of_a_newer_version_is_refused_as_input(filled: FaissStore, backup: Path) -> None:
    spoilt(backup, "UPDATE collection SET format = 3")
    with pytest.raises(InvalidInput, match="format 3") as refused:
        filled.restore(backup, "copy")
    assert refused.value.field == "backup"
    assert str(backup.parent) not in str(refused.value)


def test_a_backup_that_cannot_be_written_leaves_no_file(filled: FaissStore, tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        filled.backup("things", tmp_path / "no-such-folder" / "file")
    with pytest.raises(UnknownCollection):
        filled.backup("nothing", tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_refused_restore_takes_no_room(filled: FaissStore, backup: Path, tmp_path: Path) -> None:
    spoilt(backup, "UPDATE documents SET text = 'another'")
    for _ in range(2):
        with pytest.raises(InvalidInput):
            filled.restore(backup, "copy")
    assert list((tmp_path / "data" / "staging").iterdir()) == []


def test_a_collection_that_cannot_be_opened_is_not_made(
    store: FaissStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(name: str) -> Collection:
        raise StorageError("no room")

    with monkeypatch.context() as failing:
        failing.setattr(store, "_opened", full)
        with pytest.raises(StorageError, match="no room"):
            store.create("more", 8, "m")
    with pytest.raises(UnknownCollection):
        store.get("more")
    assert store.create("more", 8, "m").count == 0
