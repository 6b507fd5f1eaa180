"""The hint how an extra is installed, from a checkout and from anywhere else."""

import sys
from pathlib import Path

import pytest

from model.installing import install_command


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder with a pyproject.toml and an environment of its own in .venv."""
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))
    return tmp_path


def test_in_a_checkout_it_is_installed_from_there(checkout, monkeypatch):
    monkeypatch.chdir(checkout)
    assert install_command("milvus", checkout) == ".venv/bin/pip install -e '.[milvus]'"


def test_elsewhere_the_checkout_is_named_in_full(checkout, monkeypatch):
    elsewhere = checkout / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert install_command("ray", checkout) == f"{checkout}/.venv/bin/pip install -e '{checkout}[ray]'"


def test_without_a_checkout_it_is_the_distributions_name(tmp_path):
    assert install_command("train", tmp_path) == "pip install 'solomon-embed[train]'"


def test_these_tests_run_in_a_checkout():
    root = Path(__file__).parent.parent.parent
    assert (root / "pyproject.toml").is_file()
    assert " install -e " in install_command("train")
