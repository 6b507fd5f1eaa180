"""Salvage of a log whose b-trees are damaged above whole rows: all rows are kept, and nothing comes back."""

from __future__ import annotations

import random
import shutil
import sqlite3
import struct
from contextlib import closing
from pathlib import Path

import pytest

from index.collection import LOG_FILE
from index.schema import ID_INDEX, PAGE_SIZE
from index.store import FaissStore
from index.types import Image, NewDocument
from index.validation import unit_vector
from tests.index.damage import INDEX_BRANCH, INDEX_LEAF, TABLE_BRANCH, TABLE_LEAF, Texts, pages_of
from tests.index.documents import vector_of

COUNT = 3000
DELETED = [f"doc-{number}" for number in range(1000, 1800)]
TREES = ("documents", "vectors", "images", ID_INDEX)


def image_of(number: int) -> Image | None:
    """Small ones for most; some are longer than a page, and one is as long as a vector."""
    size = {0: 3 * PAGE_SIZE, 1: 200, 2: 32}.get(number % 4)
    return None if size is None else Image(random.Random(number).randbytes(size), "image/png")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Texts]:
    """A closed data directory with deleted and replaced documents, some in pages that are free by now."""
    folder = tmp_path_factory.mktemp("large")
    store = FaissStore(folder)
    store.create("things", 8, "m")
    texts: dict[str, str | None] = {f"doc-{number}": f"text {number} " * 20 for number in range(COUNT)}
    store.upsert("things", [made(name, str(text)) for name, text in texts.items()])
    replaced = {f"doc-{number}": f"another {number} " * 20 for number in range(0, 700, 2)}
    store.upsert("things", [made(name, text) for name, text in replaced.items()])
    store.close()
    shutil.copyfile(folder / "collections" / "things" / LOG_FILE, folder / "before deleting")
    store = FaissStore(folder)
    for name in DELETED:
        store.delete_document("things", name)
    store.close()
    return folder, texts | replaced | dict.fromkeys(DELETED)


def made(name: str, text: str) -> NewDocument:
    return NewDocument(name, vector_of(text), text, image_of(int(name.removeprefix("doc-"))))


@pytest.fixture
def log(large: tuple[Path, Texts], tmp_path: Path) -> Path:
    shutil.copytree(large[0], tmp_path / "data")
    return tmp_path / "data" / "collections" / "things" / LOG_FILE


def root_of(log: Path, tree: str) -> int:
    """Where the top page of a b-tree begins, which has no rows of its own."""
    with closing(sqlite3.connect(log)) as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE name = ?"
        root = PAGE_SIZE * (int(connection.execute(query, (tree,)).fetchone()[0]) - 1)
    assert root in pages_of(log, INDEX_BRANCH if tree == ID_INDEX else TABLE_BRANCH)
    return root


def check_all_there(log: Path, texts: Texts) -> None:
    store = FaissStore(log.parents[2])
    found = {made.id: made for batch in store.export("things") for made in batch}
    assert {name: made.text for name, made in found.items()} == {n: t for n, t in texts.items() if t}
    for name, kept in found.items():
        assert kept.image == image_of(int(name.removeprefix("doc-")))
        assert kept.vector == pytest.approx(vector_of(str(kept.text)), abs=1e-6)
    assert (store.get("things").lost, store.verify("things").damage) == (0, [])
    store.close()


@pytest.mark.parametrize("tree", TREES)
def test_a_page_above_all_rows_that_is_gone_costs_nothing(
    log: Path, large: tuple[Path, Texts], tree: str
) -> None:
    root = root_of(log, tree)
    with open(log, "r+b") as file:
        file.seek(root)
        file.write(bytes(PAGE_SIZE))
    check_all_there(log, large[1])


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("seed", range(4))
def test_a_bit_in_a_page_above_the_rows_costs_nothing(
    log: Path, large: tuple[Path, Texts], tree: str, seed: int
) -> None:
    root, content = root_of(log, tree), bytearray(log.read_bytes())
    pointers = int.from_bytes(content[root + 3 : root + 5], "big")
    cells = int.from_bytes(content[root + 5 : root + 7], "big")
    choose = random.Random(seed)
    place = root + (choose.randrange(12 + 2 * pointers) if seed % 2 else choose.randrange(cells, PAGE_SIZE))
    content[place] ^= 1 << choose.randrange(8)
    log.write_bytes(content)
    check_all_there(log, large[1])


@pytest.mark.parametrize("tree", ["documents", "vectors"])
def test_a_pointer_to_a_page_that_was_freed_brings_nothing_back(
    log: Path, large: tuple[Path, Texts], tree: str
) -> None:
    """Some builds of SQLite leave in free pages what was deleted, with sound checksums; others clear them."""
    before, content = (large[0] / "before deleting").read_bytes(), bytearray(log.read_bytes())
    text = "text 1500 " * 20
    deleted = {"documents": text.encode(), "vectors": unit_vector(vector_of(text), 8).tobytes()}
    trunk = PAGE_SIZE * (int.from_bytes(content[32:36], "big") - 1)
    for place, (name, row) in enumerate(deleted.items()):
        stale = PAGE_SIZE * (before.index(row) // PAGE_SIZE)
        assert before[stale] == TABLE_LEAF
        [free] = struct.unpack_from(">I", content, trunk + 8 + 4 * place)
        content[PAGE_SIZE * (free - 1) : PAGE_SIZE * free] = before[stale : stale + PAGE_SIZE]
        if name == tree:
            root = root_of(log, tree)
            first = root + int.from_bytes(content[root + 12 : root + 14], "big")
            content[first : first + 4] = free.to_bytes(4, "big")
    log.write_bytes(content)
    check_all_there(log, large[1])


def test_a_row_that_only_a_damaged_index_names_is_no_loss(log: Path, large: tuple[Path, Texts]) -> None:
    content = bytearray(log.read_bytes())
    leaves = ((at, content.find(b"doc-2999", at, at + PAGE_SIZE)) for at in pages_of(log, INDEX_LEAF))
    [place] = [found for _, found in leaves if found >= 0]
    content[place + len(b"doc-2999")] ^= 0x40  # of the row key, which follows
    log.write_bytes(content)
    check_all_there(log, large[1])
