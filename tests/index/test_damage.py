"""Damaged logs, journals and write-ahead logs: noticed, named, recovered from what is sound, never served."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from index.collection import LOG_FILE
from index.log import JOURNAL_FILE
from index.schema import PAGE_SIZE
from index.store import FaissStore
from index.types import DamagedLog, Image, NewDocument, UnknownDocument, UnusableCollection
from tests.index.damage import Texts, check_damaged, cut_short, flip_bits
from tests.index.documents import document, vector_of

WAL_FILE = f"{LOG_FILE}-wal"
FRAME_BYTES = 24 + PAGE_SIZE
ROW_OF = "(SELECT row FROM documents WHERE id = ?)"
IDS = [f"doc-{number}" for number in range(120)]


def written(store: FaissStore, changes: int, choose: random.Random, expected: dict[str, str | None]) -> None:
    """Make changes to "things" and note them."""
    for number in range(changes):
        live = [document_id for document_id, text in expected.items() if text is not None]
        if live and choose.random() < 0.3:
            gone = choose.choice(live)
            store.delete_document("things", gone)
            expected[gone] = None
        else:
            names = sorted({choose.choice(IDS) for _ in range(choose.randint(1, 30))})
            texts = {name: f"{name}@{number}.{len(live)}.{choose.random()}" for name in names}
            store.upsert("things", [document(name, text) for name, text in texts.items()])
            expected |= texts


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Texts]:
    """A data directory as a killed process leaves it: part in the database, part in the write-ahead log."""
    folder = tmp_path_factory.mktemp("crashed")
    expected: dict[str, str | None] = {}
    choose = random.Random(5)
    store = FaissStore(folder / "live", snapshot_every=25)
    store.create("things", 8, "m")
    store.create("others", 8, "m")
    store.upsert("others", [document("untouched", "untouched")])
    written(store, 40, choose, expected)
    store.close()
    store = FaissStore(folder / "live", snapshot_every=25)
    written(store, 15, choose, expected)
    # A snapshot on its way may go while it is copied; a killed process would leave it, and opening ignore it.
    shutil.copytree(folder / "live", folder / "data", ignore=shutil.ignore_patterns("*.new"))
    store.close()
    return folder / "data", expected


@pytest.fixture
def files(crashed: tuple[Path, Texts], tmp_path: Path) -> Path:
    """The files of the collection "things" in a copy of that directory."""
    shutil.copytree(crashed[0], tmp_path / "data")
    return tmp_path / "data" / "collections" / "things"


@pytest.fixture
def closed_files(files: Path) -> Path:
    """The same after an orderly end: all of it in the database."""
    FaissStore(files.parents[1]).close()
    assert not (files / WAL_FILE).exists()
    return files


def reopened(files: Path) -> FaissStore:
    store = FaissStore(files.parents[1])
    assert store.get_document("others", "untouched").text == "untouched"
    return store


@pytest.fixture(params=range(6))
def choose(request: pytest.FixtureRequest) -> random.Random:
    return random.Random(request.param)


def test_one_flipped_bit_in_the_write_ahead_log_does_not_cost_what_is_behind_it(
    files: Path, crashed: tuple[Path, Texts], choose: random.Random
) -> None:
    flip_bits(files / WAL_FILE, choose)
    store = reopened(files)
    assert len(check_damaged(store, "things", crashed[1])) < 10  # at most a part of the page that it hit
    store.close()


@pytest.mark.parametrize("place", [3, 9, 18, 30, 32, 37, 41, 50], ids=str)
def test_no_part_of_its_headers_is_too_important(
    files: Path, crashed: tuple[Path, Texts], place: int
) -> None:
    """The file's header has 32 bytes; the first frame's page number, commit mark, salts and sums follow."""
    content = bytearray((files / WAL_FILE).read_bytes())
    content[place] ^= 1
    (files / WAL_FILE).write_bytes(content)
    store = reopened(files)
    assert check_damaged(store, "things", crashed[1]) == set()
    store.close()


def test_many_flipped_bits_in_the_write_ahead_log_are_named(
    files: Path, crashed: tuple[Path, Texts], choose: random.Random
) -> None:
    flip_bits(files / WAL_FILE, choose, 100)
    store = reopened(files)
    check_damaged(store, "things", crashed[1])
    store.close()


def test_a_write_ahead_log_that_lost_its_end_is_named(
    files: Path, crashed: tuple[Path, Texts], choose: random.Random, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite itself would take this for a crash and say nothing; deleted documents would be back."""
    cut_short(files / WAL_FILE, choose)
    store = reopened(files)
    assert check_damaged(store, "things", crashed[1])
    assert "things" in caplog.text
    assert "acknowledged changes are missing" in caplog.text
    assert [kept.name.partition(".")[0] for kept in (files.parents[1] / "damaged").iterdir()] == ["things"]
    store.close()


@pytest.mark.parametrize("bits", [1, 8, 100])
def test_flipped_bits_in_the_database_cost_what_they_hit(
    closed_files: Path, crashed: tuple[Path, Texts], choose: random.Random, bits: int
) -> None:
    flip_bits(closed_files / LOG_FILE, choose, bits)
    store = reopened(closed_files)
    lost = check_damaged(store, "things", crashed[1])
    if bits == 1:
        assert len(lost) <= 1 or not store.get("things").count  # at most one, or a page of this small file
    store.close()


def test_a_database_that_was_cut_short(
    closed_files: Path, crashed: tuple[Path, Texts], choose: random.Random
) -> None:
    cut_short(closed_files / LOG_FILE, choose)
    store = reopened(closed_files)
    check_damaged(store, "things", crashed[1])
    store.close()


@pytest.mark.parametrize("harm", [flip_bits, cut_short])
def test_the_journal_alone_costs_nothing(
    files: Path,
    crashed: tuple[Path, Texts],
    choose: random.Random,
    harm: Callable[[Path, random.Random], None],
) -> None:
    harm(files / JOURNAL_FILE, choose)
    store = reopened(files)
    assert check_damaged(store, "things", crashed[1]) == set()
    store.close()


def test_a_second_salvage_keeps_what_the_first_found_lost(
    closed_files: Path, crashed: tuple[Path, Texts]
) -> None:
    live = sorted(document_id for document_id, text in crashed[1].items() if text is not None)
    for number, document_id in enumerate(live[:3], start=1):
        spoil(closed_files, "UPDATE documents SET text = 'spoilt' WHERE id IN (?)", [document_id])
        store = reopened(closed_files)
        assert sorted(loss.id or "" for loss in store.verify("things").losses) == live[:number]
        store.close()
    store = reopened(closed_files)
    store.upsert("things", [document(live[1])])
    assert [loss.id for loss in store.verify("things").losses] == [live[0], live[2]]
    store.close()


def test_a_lost_document_that_is_written_again_is_lost_no_more(
    closed_files: Path, crashed: tuple[Path, Texts]
) -> None:
    live = sorted(document_id for document_id, text in crashed[1].items() if text is not None)
    spoil(closed_files, "UPDATE documents SET text = 'spoilt' WHERE id IN (?, ?)", live[:2])
    store = reopened(closed_files)
    assert [loss.id for loss in store.verify("things").losses] == live[:2]
    store.upsert("things", [document(live[0])])
    assert [loss.id for loss in store.verify("things").losses] == live[1:2]
    assert store.get("things").lost == 1
    store.close()
    store = reopened(closed_files)
    assert store.get("things").lost == 1
    store.close()


def spoil(files: Path, statement: str, values: list[str]) -> None:
    connection = sqlite3.connect(files / LOG_FILE)
    connection.execute(statement, values)
    connection.commit()
    connection.close()


@pytest.fixture
def pictured(tmp_path: Path) -> Iterator[FaissStore]:
    """An open store with documents that all have a text and an image."""
    store = FaissStore(tmp_path / "data")
    store.create("things", 8, "m")
    images = {name: Image(f"picture of {name}".encode(), "image/png") for name in "abc"}
    store.upsert(
        "things", [NewDocument(name, vector_of(name), f"text {name}", images[name]) for name in "abc"]
    )
    yield store
    store.close()


def search_near_b(store: FaissStore) -> object:
    return [hit.document.id for hit in store.search("things", vector_of("b"), 3)]


def get_b(store: FaissStore) -> object:
    return store.get_document("things", "b")


def get_image_of_b(store: FaissStore) -> object:
    return store.get_image("things", "b")


@pytest.mark.parametrize(
    ("statement", "call"),
    [
        ("UPDATE documents SET text = 'other' WHERE id = ?", search_near_b),
        ("UPDATE documents SET metadata = '{}' || ' ' WHERE id = ?", get_b),
        (f"DELETE FROM images WHERE row = {ROW_OF}", get_image_of_b),
        (f"UPDATE images SET data = x'00' WHERE row = {ROW_OF}", get_image_of_b),
    ],
    ids=["text", "metadata", "no image", "image"],
)
def test_damage_that_a_call_meets_is_mended_and_never_served(
    pictured: FaissStore, tmp_path: Path, statement: str, call: Callable[[FaissStore], object]
) -> None:
    spoil(tmp_path / "data" / "collections" / "things", statement, ["b"])
    try:
        answer = call(pictured)
    except UnknownDocument:
        answer = None
    assert answer is None or sorted(answer) == ["a", "c"]
    with pytest.raises(UnknownDocument):
        pictured.get_document("things", "b")
    assert [loss.id for loss in pictured.verify("things").losses] == ["b"]
    assert pictured.get_image("things", "a").data == b"picture of a"
    pictured.upsert("things", [document("d")])
    assert pictured.get("things").count == 3


def test_a_document_that_is_not_where_it_was_is_damage_to_a_search(
    pictured: FaissStore, tmp_path: Path
) -> None:
    spoil(tmp_path / "data" / "collections" / "things", "DELETE FROM documents WHERE id = ?", ["b"])
    assert sorted(search_near_b(pictured)) == ["a", "c"]
    assert pictured.get("things").lost == 1


def test_an_export_that_meets_damage_says_so_and_the_next_one_is_whole(
    pictured: FaissStore, tmp_path: Path
) -> None:
    files = tmp_path / "data" / "collections" / "things"
    spoil(files, f"UPDATE vectors SET vector = zeroblob(32) WHERE row = {ROW_OF}", ["b"])
    with pytest.raises(DamagedLog, match="'b'") as raised:
        list(pictured.export("things"))
    assert str(tmp_path) not in str(raised.value)  # callers of the server read it
    assert [d.id for batch in pictured.export("things") for d in batch] == ["a", "c"]
    assert [loss.id for loss in pictured.verify("things").losses] == ["b"]


def test_verify_reports_and_repairs_only_when_asked(pictured: FaissStore, tmp_path: Path) -> None:
    files = tmp_path / "data" / "collections" / "things"
    spoil(
        files,
        "UPDATE vectors SET vector = zeroblob(32) WHERE row = (SELECT row FROM documents WHERE id = ?)",
        ["c"],
    )
    report = pictured.verify("things")
    assert (len(report.damage), report.losses) == (1, [])
    assert pictured.get("things").count == 3  # what is in memory is sound, and is still served
    assert [loss.id for loss in pictured.verify("things", repair=True).losses] == ["c"]
    assert pictured.verify("things").damage == []
    assert pictured.get("things").count == 2


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b""])
def test_a_log_that_is_all_gone_is_refused_alone(files: Path, content: bytes) -> None:
    for file in files.iterdir():
        file.write_bytes(content)
    for _ in range(2):  # the first attempt must not make the second one worse
        store = reopened(files)
        with pytest.raises(UnusableCollection, match="neither it nor its journal"):
            store.search("things", vector_of("x"), 1)
        with pytest.raises(UnusableCollection):
            store.create("things", 8, "m")
        assert {info.name: info.index_kind for info in store.list()}["things"] == "unusable"
        assert store.verify("things").damage
        store.close()
    store = reopened(files)
    store.drop("things")
    assert store.create("things", 8, "m").count == 0
    store.close()


def test_a_log_that_is_missing_is_told_with_its_mend_and_touched_by_nothing(
    closed_files: Path, crashed: tuple[Path, Texts], tmp_path: Path
) -> None:
    store = reopened(closed_files)
    store.backup("things", tmp_path / "things.backup")
    store.close()
    (closed_files / LOG_FILE).rename(tmp_path / "elsewhere")
    left = sorted(file.name for file in closed_files.iterdir())
    store = reopened(closed_files)
    with pytest.raises(UnusableCollection, match=r"missing.*`solomon index restore FILE --name things --rep"):
        store.search("things", vector_of("x"), 1)
    with pytest.raises(UnusableCollection):
        store.create("things", 8, "m")
    [listed] = [info for info in store.list() if info.name == "things"]
    assert listed.index_kind == "unusable"
    assert "is missing" in str(listed.damage)
    store.close()
    assert sorted(file.name for file in closed_files.iterdir()) == left
    shutil.copyfile(tmp_path / "elsewhere", closed_files / LOG_FILE)
    store = reopened(closed_files)
    assert check_damaged(store, "things", crashed[1]) == set()
    store.close()
    (closed_files / LOG_FILE).unlink()
    store = reopened(closed_files)
    store.restore(tmp_path / "things.backup", "things", replace=True)
    assert check_damaged(store, "things", crashed[1]) == set()
    store.close()


def test_a_folder_that_holds_nothing_is_no_collection(closed_files: Path) -> None:
    (closed_files.parent / "empty").mkdir()
    store = reopened(closed_files)
    assert [info.name for info in store.list()] == ["others", "things"]
    assert store.create("empty", 8, "m").count == 0
    store.close()


def test_with_its_journal_an_unreadable_log_is_at_least_named(
    files: Path, crashed: tuple[Path, Texts]
) -> None:
    (files / LOG_FILE).write_bytes(b"")
    (files / WAL_FILE).unlink()
    store = reopened(files)
    assert (store.get("things").count, store.get("things").model) == (0, "m")
    check_damaged(store, "things", crashed[1])
    store.upsert("things", [document("doc-1", "again")])
    assert store.get_document("things", "doc-1").text == "again"
    store.close()


@pytest.mark.parametrize("bits", [1, 20])
def test_a_log_too_large_to_verify_at_opening_serves_nothing_damaged(
    closed_files: Path,
    crashed: tuple[Path, Texts],
    choose: random.Random,
    bits: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("index.log.VERIFIED_AT_OPENING", 0)
    flip_bits(closed_files / LOG_FILE, choose, bits)
    store = reopened(closed_files)
    for document_id, text in crashed[1].items():
        with suppress(UnknownDocument):
            assert store.get_document("things", document_id).text == text
    for text in ("a", "b"):
        for hit in store.search("things", vector_of(text), 1000):
            assert crashed[1][hit.document.id] == hit.document.text
    store.verify("things", repair=True)
    check_damaged(store, "things", crashed[1])
    store.close()


def test_a_write_cut_short_in_a_write_ahead_log_begun_anew_costs_nothing(tmp_path: Path) -> None:
    """A reader that keeps the log from being emptied lets SQLite begin it anew with the next write."""
    store = FaissStore(tmp_path / "live")
    store.create("things", 8, "m")
    names = [f"doc-{number}" for number in range(50)]
    for name in names:
        store.upsert("things", [document(name, name)])
    log = store._collection("things")._log
    with log.snapshot():
        log._checkpointer.run()  # moves everything, and cannot truncate the file
    wal = tmp_path / "live" / "collections" / "things" / WAL_FILE
    before = wal.read_bytes()
    assert before
    store.upsert("things", [document("cut short", "cut short")])
    anew = wal.read_bytes()
    assert anew[16:24] != before[16:24]
    shutil.copytree(tmp_path / "live", tmp_path / "data", ignore=shutil.ignore_patterns("*.new"))
    store.close()
    files = tmp_path / "data" / "collections" / "things"
    _forget_last_change(files / JOURNAL_FILE)
    begun = next(at for at in range(32, len(anew), FRAME_BYTES) if anew[at + 4 : at + 8] != bytes(4))
    content = bytearray(anew)
    content[begun + 24 : begun + FRAME_BYTES] = before[
        begun + 24 : begun + FRAME_BYTES
    ]  # header, no page yet
    (files / WAL_FILE).write_bytes(content)
    opened = FaissStore(tmp_path / "data")
    found = opened.verify("things")
    assert (found.documents, found.damage, found.losses) == (len(names), [], [])
    assert opened.existing_ids("things", [*names, "cut short"]) == set(names)
    opened.close()


def _forget_last_change(journal: Path) -> None:
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-1]))
