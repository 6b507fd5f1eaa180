"""Wherever there is a C compiler, the kernels compile without a warning and are there."""

import shutil
import subprocess
from pathlib import Path

import pytest

from model import kernels
from model.kernels import library

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
