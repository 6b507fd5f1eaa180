"""Every command and program of the README and of docs/ is run against a real server."""

import json
import re
from pathlib import Path

import pytest

from tests.e2e.server_process import clean_environment
from tests.snippets import run, snippets

ROOT = Path(__file__).parent.parent.parent
NODE_MODULES = ROOT / "tests" / "node" / "node_modules"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

# What of the README is not run, by a part of it that no other block has. Everything else is.
NOT_RUN_OF_README = {
    "make serve": "it would not end, and `make test` is what runs this",
    "solomon data mini": "training takes four hours",
}


def excused(page, snippet):
    if snippet.not_run is not None:
        return True
    return page.name == "README.md" and any(part in snippet.text for part in NOT_RUN_OF_README)


@pytest.fixture
def folder(tmp_path):
    """A working folder that holds of the checkout what pages name."""
    for name in ("service", "benchmarks"):
        (tmp_path / name).symlink_to(ROOT / name)
    if NODE_MODULES.is_dir():
        (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    (tmp_path / ".curlrc").write_text("fail-with-body\n")  # an answer of the server that is a problem fails
    return tmp_path


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_snippet_runs(page, folder, server, trained):
    environment = clean_environment(
        SOLOMON_URL=server.url,
        SOLOMON_PORT=str(server.port),
        SOLOMON_DATA_DIR=str(folder / "data"),
        CURL_HOME=str(folder),
        PYTHONPATH=str(ROOT),
        NO_COLOR="1",
    )
    without_node = []
    for snippet in snippets(page):
        if excused(page, snippet):
            continue
        if snippet.language == "js" and not (NODE_MODULES / "openai").is_dir():
            without_node.append(snippet.place)
            continue
        text = snippet.text.replace("http://127.0.0.1:8080", server.url)
        text = text.replace("127.0.0.1:8080", f"127.0.0.1:{server.port}")
        run(type(snippet)(snippet.place, snippet.language, text, None), folder, environment)
    if without_node:
        pytest.skip(f"{without_node} need OpenAI's Node client: npm install --prefix {NODE_MODULES.parent}")


RESULT = re.compile(r'"id": "([^"]+)", "score": ([0-9.]+), "text": "([^"]*)"')
ANSWER = re.compile(r'"route": "(\w+)", "confidence": [0-9.]+, "augmentation": (null|"[^"]*")')
SCORES_DIFFER = 0.02  # between float32 and bfloat16


def test_what_the_readme_shows_is_what_the_server_answers(folder, server, trained):
    """The outputs that it calls real: the same results in the same order, route and augmentation."""
    shown = re.findall(r"```json\n(\{\"results\".*?)```", PAGES[0].read_text("utf-8"), re.DOTALL)
    asked = [
        snippet for snippet in snippets(PAGES[0]) if "/search" in snippet.text and "curl" in snippet.text
    ]
    assert len(shown) == len(asked) == 2
    for snippet, text in zip(asked, shown, strict=True):
        command = snippet.text.replace("127.0.0.1:8080", f"127.0.0.1:{server.port}")
        answer = json.loads(
            run(type(snippet)(snippet.place, "sh", command, None), folder, clean_environment())
        )
        results = [(hit["id"], hit["text"]) for hit in answer["results"]]
        assert results == [(found, words) for found, _, words in RESULT.findall(text)]
        for hit, (_, score, _) in zip(answer["results"], RESULT.findall(text), strict=True):
            assert hit["score"] == pytest.approx(float(score), abs=SCORES_DIFFER)
        route, augmentation = ANSWER.search(text).groups()
        assert (answer["route"], answer["augmentation"]) == (route, json.loads(augmentation))


def test_what_is_not_run_of_the_readme_is_still_in_it():
    text = PAGES[0].read_text("utf-8")
    for part in NOT_RUN_OF_README:
        assert part in text
