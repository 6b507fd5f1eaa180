"""Takes the picture of the page that the documents show, off a real server with the shipped checkpoint.

python -m tests.e2e.page_picture            writes docs/images/page.png
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from PIL import Image

from tests.e2e.browser import Browser, chromium
from tests.e2e.server_process import ServerProcess

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "page.png"
QUESTION = "What is the capital of France?"
_WIDTH, _HEIGHT = 1280, 1000
_COLOURS = 256  # a palette, so that the file stays small
# Asked before the picture is taken, so that the charts have something to show.
_EARLIER = ("a green fruit", "something to play music with", "What is the capital of Japan?")


def _ask(page: Browser, text: str) -> None:
    page.evaluate("document.querySelector('#text').value = ''")
    page.type("#text", text)
    page.press_enter()
    page.wait_for("document.querySelector('#status').textContent.endsWith('ms.')")


def take(page: Browser, url: str) -> bytes:
    """A PNG of the page after it has answered."""
    page.resize(_WIDTH, _HEIGHT)
    page.prefer("light")
    page.open(f"{url}/")
    page.wait_for("document.querySelector('#threshold-value').textContent")
    for text in (*_EARLIER, QUESTION):
        _ask(page, text)
    page.wait_for("[...document.querySelectorAll('.card img')].every((image) => image.complete)")
    page.evaluate("document.activeElement.blur()")
    small = io.BytesIO()
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    shot.quantize(_COLOURS).save(small, "PNG", optimize=True)
    return small.getvalue()


def main() -> None:
    """Serve the demo, ask, and write the picture."""
    executable = chromium()
    if executable is None:
        raise SystemExit("No Chromium is installed (Debian: apt-get install chromium).")
    with tempfile.TemporaryDirectory() as folder:
        server = ServerProcess(Path(folder) / "data", None, demo=True)
        server.start()
        try:
            with Browser(executable, Path(folder) / "profile") as page:
                picture = take(page, server.url)
        finally:
            server.stop()
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_bytes(picture)
    print(f"{PICTURE}: {len(picture) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
