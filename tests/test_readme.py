"""The README keeps up with the settings, the commands and the demo corpus."""

from pathlib import Path

import pytest
import typer

from service.cli import app
from service.demo.corpus import demo_documents
from service.settings import Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_explained(name):
    assert f"`SOLOMON_{name.upper()}` |" in README


def test_every_command_is_explained():
    for name in typer.main.get_command(app).commands:
        assert f"`solomon {name}" in README


def test_the_demo_corpus_is_as_large_as_it_says():
    assert f"demo corpus of {len(demo_documents())} items" in README


def test_every_file_and_folder_it_names_exists():
    rows = [line for line in README.splitlines() if line.startswith("| `") and "/` |" in line]
    assert len(rows) == 5
    for row in rows:
        folder, _, looked_for = (cell.strip() for cell in row.strip("|").split("|"))
        for name in looked_for.split("`")[1::2]:
            if " " not in name:
                path = ROOT / folder.strip("`") / name
                assert path.exists(), path
