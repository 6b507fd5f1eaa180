"""docs/ keeps up with the code, builds, and its links lead somewhere."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.snippets import RUNNABLE, snippets

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"

spec = importlib.util.spec_from_file_location("reference", DOCS / "_generate" / "reference.py")
reference = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reference)


@pytest.mark.parametrize("page", reference.pages(), ids=lambda page: page.name)
def test_generated_parts_say_what_the_code_says(page):
    text = page.read_text("utf-8")
    assert reference.filled(text) == text, f"run `make reference` and commit {page.name}"


@pytest.mark.parametrize("plot", reference.plots(), ids=lambda plot: plot.name)
def test_plots_of_results_are_those_that_were_measured(plot):
    assert reference.copy_of(plot).read_bytes() == plot.read_bytes(), "run `make reference` and commit it"
    assert f"(images/{plot.name})" in (DOCS / "benchmarks.md").read_text("utf-8")


def test_every_kind_of_generated_part_is_on_a_page():
    named = {
        name
        for page in reference.pages()
        for name in re.findall(r"<!-- generated: ([a-z-]+) -->", page.read_text("utf-8"))
    }
    assert named == set(reference.PARTS)


def test_the_model_card_has_every_score_of_the_manifest():
    card = (DOCS / "model-card.md").read_text("utf-8")
    scores = reference._manifest()["scores"]
    assert scores
    for dataset, by_route in scores.items():
        for route, figures in by_route.items():
            row = next(line for line in card.splitlines() if line.startswith(f"| {dataset} | {route} |"))
            assert f"{figures['precision_at_1']:.3f}" in row


def test_snippets_are_found_with_their_reasons(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```sh\necho a\n```\n\n<!-- not run: so it is -->\n```python\n1 / 0\n```\n```json\n{}\n```\n"
    )
    found = [(snippet.language, snippet.text, snippet.not_run) for snippet in snippets(page)]
    assert found == [("sh", "echo a\n", None), ("python", "1 / 0\n", "so it is")]
    assert "json" not in RUNNABLE


def test_the_site_builds_without_a_warning_and_asks_nobody_outside(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert built.returncode == 0, built.stderr
    assert not re.search("^WARNING", built.stderr, re.MULTILINE), built.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        html = page.read_text("utf-8")
        fetched = re.findall(r"<(?:script|img|iframe)[^>]*\ssrc=\"(https?:[^\"]+)", html)
        fetched += re.findall(
            r"<link[^>]*rel=\"(?:stylesheet|preconnect|icon)\"[^>]*href=\"(https?:[^\"]+)", html
        )
        assert fetched == [], page
    python_page = (tmp_path / "reference" / "python" / "index.html").read_text("utf-8")
    assert "Retry" in python_page or "patience" in python_page
    assert not (tmp_path / "_generate").exists()
