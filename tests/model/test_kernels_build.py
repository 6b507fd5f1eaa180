"""Wherever there is a C compiler, the kernels compile without a warning and are there."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from model import kernels
from model.kernels import checking, library

FOLDER = Path(kernels.__file__).parent
COMPILER = shutil.which("cc") or shutil.which("gcc")

pytestmark = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler here")


def test_they_compile_without_a_warning(tmp_path):
    for source in sorted(FOLDER.glob("*.c")):
        command = [COMPILER, "-std=gnu11", "-O1", "-fPIC", "-Wall", "-Wextra", "-Werror", "-c", source]
        done = subprocess.run(
            [*command, "-o", tmp_path / "one.o"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_they_were_compiled_by_the_installation():
    assert library.instruction_set() is not None, "install Solomon again: make setup"


def test_those_of_another_version_are_not_used(monkeypatch):
    monkeypatch.setattr(library, "_LAYOUT", library._LAYOUT + 8)
    library.library.cache_clear()
    try:
        assert library.instruction_set() is None
    finally:
        monkeypatch.undo()
        library.library.cache_clear()


@pytest.fixture
def found_anew():
    """`library.library`, looked for again within the test and after it."""
    library.library.cache_clear()
    yield library.library
    library.library.cache_clear()
    library.library()


def test_a_variant_that_is_wrong_on_this_processor_is_not_used(found_anew, monkeypatch, caplog):
    best = library.instruction_set()
    found_anew.cache_clear()
    rightly = checking.computes_rightly
    monkeypatch.setattr(
        checking, "computes_rightly", lambda found: rightly(found) and found.kernels_name() != best.encode()
    )
    behind = library.VARIANTS[library.VARIANTS.index(best) + 1 :]
    assert library.instruction_set() == (behind[0] if behind else None)
    assert f"kernels for {best} give wrong results" in caplog.text
    found_anew.cache_clear()
    monkeypatch.setattr(checking, "computes_rightly", lambda found: False)
    assert library.instruction_set() is None


def test_what_is_wrong_is_noticed():
    kernels = library.library()

    class Wrong:
        """The kernels, but for one number of one result."""

        def __init__(self, run, place):
            self._run, self._place = run, place

        def __getattr__(self, name):
            called = getattr(kernels, name)
            return self._spoilt if name == self._run else called

        def _spoilt(self, members, work):
            getattr(kernels, self._run)(members, work)
            ctypes.cast(getattr(work, self._place), ctypes.POINTER(ctypes.c_float))[5] += 10.0

    assert checking.computes_rightly(kernels)
    places = {"multiply_run": "result", "norm_run": "normed", "attention_run": "mixed", "step_run": "hidden"}
    for run, place in places.items():
        assert not checking.computes_rightly(Wrong(run, place)), run
