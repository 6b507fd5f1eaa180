"""The compiled functions are there wherever there is a C compiler, and nothing depends on them but speed."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from index import compiled
from index.compiled import library
from index.exact_file import EXACT_FILE, ExactFile
from index.flat import exact_scores
from tests.index.damage import flip_bits
from tests.index.test_exact_file import EVERYWHERE, GIVEN, ROWS, walk

COMPILER = shutil.which("cc") or shutil.which("gcc")
SOURCE = Path(compiled.__file__).with_suffix(".c")
MODULES = ("index.compiled", "index.exact_file", "index.flat", "index.cells")


@pytest.fixture
def nothing_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in MODULES:
        monkeypatch.setattr(f"{module}.library", lambda: None)


@pytest.mark.skipif(COMPILER is None, reason="there is no C compiler here")
def test_they_compile_without_a_warning_and_were_compiled(tmp_path: Path) -> None:
    flags = ["-std=gnu11", "-O1", "-fPIC", "-Wall", "-Wextra", "-Werror", "-c"]
    command = [str(COMPILER), *flags, str(SOURCE), "-o", str(tmp_path / "one.o")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    suffixes = [path.name for path in SOURCE.parent.glob("_compiled*.so")]
    assert suffixes, "install Solomon again: make setup"


@examples(deadline=None)
@given(st.integers(0, 30), st.integers(1, 100), st.integers(0, 7), st.integers(0, 2**31))
def test_scores_are_those_of_the_formula_and_of_a_row_wherever_it_stands(
    count: int, dimensions: int, more: int, seed: int
) -> None:
    drawn = np.random.default_rng(seed)
    wide = drawn.normal(size=(count, dimensions + more)).astype(np.float32)
    query = drawn.normal(size=dimensions).astype(np.float32)
    vectors = wide[:, :dimensions]
    found = exact_scores(vectors, query)
    np.testing.assert_allclose(found, vectors.astype(np.float64) @ query, rtol=1e-12, atol=1e-12)
    assert (exact_scores(np.ascontiguousarray(vectors)[::-1], query) == found[::-1]).all()


@pytest.mark.usefixtures("nothing_compiled")
def test_without_them_a_file_is_read_and_its_damage_noticed_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / EXACT_FILE
    file = ExactFile.create(path, 8)
    assert file is not None
    file.fill(ROWS[:400], walk(0, 400))
    vectors, right, _ = file.read(EVERYWHERE, ROWS)
    assert (right == (EVERYWHERE < 400)).all()
    assert (vectors[right] == GIVEN[:400]).all()
    before = np.frombuffer(path.read_bytes(), np.uint8).reshape(400, -1)
    flip_bits(path, random.Random(0), 40)
    after = np.frombuffer(path.read_bytes(), np.uint8).reshape(400, -1)
    _, right, _ = file.read(EVERYWHERE[:400], ROWS[:400])
    assert (right == (before == after).all(axis=1)).all()
    assert file.is_damaged


@pytest.mark.skipif(library() is None, reason="nothing is compiled here")
def test_a_file_of_an_installation_with_another_checksum_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / EXACT_FILE
    with monkeypatch.context() as without:
        for module in MODULES:
            without.setattr(f"{module}.library", lambda: None)
        file = ExactFile.create(path, 8)
        assert file is not None
        file.fill(ROWS, walk())
    again = ExactFile.open(path, 8, ROWS)
    assert again is not None
    assert again.count == 0
    again.fill(ROWS, walk())
    assert again.read(EVERYWHERE, ROWS)[1].all()


def test_a_file_that_cannot_be_read_has_no_record(tmp_path: Path) -> None:
    file = ExactFile.create(tmp_path / EXACT_FILE, 8)
    assert file is not None
    file.fill(ROWS, walk())
    handle = file._handle
    pipe, other = os.pipe()  # which cannot be read at a place
    try:
        file._handle = pipe
        vectors, right, forms = file.read(EVERYWHERE[:3], ROWS[:3])
    finally:
        file._handle = handle
        os.close(pipe)
        os.close(other)
    assert vectors.shape == (3, 8)
    assert not right.any()
    assert len(forms) == 3
    assert file.is_damaged
