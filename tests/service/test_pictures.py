"""Pictures of search results in a terminal."""

import base64
import io
import re

import pytest
from PIL import Image
from rich.console import Console

from service.cli.options import Pictures
from service.cli.pictures import ROWS, as_blocks, as_iterm2, as_kitty, choose
from service.cli.results import show_answer
from tests.service.images import encoded

RED = encoded(colour=(255, 0, 0))
ANSWER = {
    "route": "augment",
    "confidence": 0.9,
    "augmentation": "Paris [bold]",
    "latency_ms": {"queue": 0.25, "embed": 10.04, "index": 1.5, "total": 12.0},
    "results": [
        {"id": "red", "score": 0.9, "text": None, "image_url": "/red", "metadata": {"name": "a red one"}},
        {"id": "file", "score": 0.85, "text": None, "image_url": "/car", "metadata": {"file": "car.png"}},
        {"id": "words", "score": 0.8, "text": "words [/]", "image_url": None, "metadata": {}},
    ],
}


def console(**options):
    return Console(file=io.StringIO(), width=100, **options)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM_PROGRAM": "iTerm.app"}, "iterm2"),
        ({"TERM": "xterm-256color"}, "blocks"),
        ({"TERM": "xterm-kitty", "TMUX": "1"}, "blocks"),
    ],
)
def test_the_terminal_decides(environment, expected):
    terminal = console(force_terminal=True, color_system="truecolor")
    assert choose(Pictures.AUTO, terminal, environment) == expected


def test_files_pipes_and_colourless_terminals_get_none():
    assert choose(Pictures.AUTO, console(), {"TERM": "xterm-kitty"}) == "none"
    assert choose(Pictures.AUTO, console(force_terminal=True, color_system=None), {}) == "none"
    assert choose(Pictures.BLOCKS, console(), {}) == "blocks"


def test_half_blocks_have_the_pictures_shape_and_colour():
    lines = as_blocks(RED).plain.split("\n")
    assert len(lines) <= ROWS
    assert len(lines[0]) == 2 * ROWS
    assert {span.style.color.triplet.rgb for span in as_blocks(RED).spans} == {"rgb(255,0,0)"}
    assert as_blocks(b"no picture").plain == ""


def test_a_transparent_picture_lies_on_white():
    buffer = io.BytesIO()
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(buffer, "PNG")
    assert {span.style.color.triplet.rgb for span in as_blocks(buffer.getvalue()).spans} == {
        "rgb(255,255,255)"
    }


def test_kitty_is_sent_a_whole_png_in_chunks():
    noisy = io.BytesIO()
    Image.effect_noise((200, 200), 100).save(noisy, "PNG")
    parts = re.findall(r"\033_G([^;]*);([^\033]*)\033\\", as_kitty(noisy.getvalue()))
    assert len(parts) > 1
    assert parts[0][0] == f"a=T,f=100,r={ROWS},q=2,m=1"
    assert [control for control, _ in parts[1:]] == ["m=1"] * (len(parts) - 2) + ["m=0"]
    png = base64.b64decode("".join(data for _, data in parts))
    assert Image.open(io.BytesIO(png)).size == (160, 160)
    assert as_kitty(b"no picture") == ""


def test_iterm2_is_sent_one_inline_file():
    sent = re.fullmatch(
        rf"\033]1337;File=inline=1;height={ROWS};preserveAspectRatio=1:(.*)\a", as_iterm2(RED)
    )
    assert base64.b64decode(sent[1]).startswith(b"\x89PNG")


@pytest.mark.parametrize("pictures", list(Pictures)[1:])
def test_every_way_shows_every_hit(pictures):
    target = console(force_terminal=True, color_system="truecolor")
    fetched = []

    def fetch(path):
        fetched.append(path)
        return RED

    show_answer(ANSWER, pictures, fetch, target)
    shown = target.file.getvalue()
    for part in (
        "0.900",
        "red",
        "a red one",
        "car.png",
        "words [/]",
        "Paris [bold]",
        "12 ms (queue 0.2, embed 10.0, index 1.5)",
    ):
        assert part in shown
    assert fetched == ([] if pictures is Pictures.NONE else ["/red", "/car"])
    marks = {"kitty": "\033_G", "iterm2": "\033]1337", "blocks": "▀"}
    for name, mark in marks.items():
        assert (mark in shown) == (name == pictures)


def test_a_search_by_vector_has_no_route():
    target = console()
    answer = {"route": None, "confidence": None, "augmentation": None, "latency_ms": {"total": 1.4}}
    show_answer({**answer, "results": []}, Pictures.NONE, lambda path: RED, target)
    assert "route" not in target.file.getvalue()
    assert "1 ms\n" in re.sub(r" +\n", "\n", target.file.getvalue())
