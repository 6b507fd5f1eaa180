"""Commands and programs in Markdown pages, to be run as a reader would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(
    r"(?:<!-- not run: (?P<reason>[^>]*?) -->\n)?"
    r"^```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_INTERPRETERS = {
    "sh": ["bash", "-euo", "pipefail", "-c"],
    "python": [sys.executable, "-c"],
    "js": ["node", "--input-type=module", "--eval"],
}
RUNNABLE = frozenset(_INTERPRETERS)


@dataclass(frozen=True)
class Snippet:
    """A fenced block: where it begins, its language, and why it is not run, if it says so."""

    place: str
    language: str
    text: str
    not_run: str | None


def snippets(page: Path) -> list[Snippet]:
    """The blocks of a page that are commands or programs, in order."""
    text = page.read_text("utf-8")
    return [
        Snippet(
            f"{page.name}:{text.count(chr(10), 0, found.start('text'))}",
            found["language"],
            found["text"],
            found["reason"],
        )
        for found in _FENCE.finditer(text)
        if found["language"] in RUNNABLE
    ]


def run(snippet: Snippet, folder: Path, environment: dict[str, str], seconds: int = 300) -> str:
    """Run a block in a folder; its standard output. Fails with what it printed where it fails."""
    command = [*_INTERPRETERS[snippet.language], snippet.text]
    binaries = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        command,
        cwd=folder,
        env={**environment, "PATH": binaries},
        capture_output=True,
        text=True,
        timeout=seconds,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, (
        f"{snippet.place} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    )
    return done.stdout
