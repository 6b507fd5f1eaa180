"""The page in a real browser with the shipped checkpoint; tests/service/page has what needs no such model.

`SOLOMON_TEST_PICTURES` names a folder to keep pictures of the page in, for people to look at.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.demo.corpus import demo_documents
from tests.e2e.browser import Browser, chromium
from tests.e2e.inputs import QUERIES


@pytest.fixture(scope="module")
def browser(server, tmp_path_factory):
    executable = chromium()
    if executable is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    with Browser(executable, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def page(browser, server):
    """The page, loaded anew; at the end nothing may have gone wrong in it or left the server."""
    browser.faults.clear()
    browser.addresses.clear()
    browser.resize(1280, 900)
    browser.prefer("light")
    browser.open(f"{server.url}/")
    yield browser
    assert browser.faults == []
    assert browser.addresses
    foreign = [one for one in browser.addresses if not one.startswith((server.url, "data:", "blob:"))]
    assert foreign == []


def text(page, selector):
    return page.evaluate(f"document.querySelector('{selector}').innerText")


def wait_for_cards(page):
    page.wait_for("document.querySelectorAll('#results > .card').length === 12")


def test_it_lists_the_collections(page):
    page.wait_for(f"document.querySelector('#collection').textContent.includes('{len(demo_documents())}')")


def test_a_typed_question_shows_route_and_results(page):
    page.type("#text", "What is the capital of France?")
    page.press_enter()
    wait_for_cards(page)
    assert text(page, "#decision code") in ("/embed", "/augment")
    assert text(page, "#decision .confidence").endswith("%")
    assert text(page, "#status").endswith("ms.")


def test_thinking_first_shows_what_was_written(page):
    page.evaluate("document.querySelector('[name=route][value=augment]').click()")
    page.type("#text", "Which animal has a trunk?")
    page.evaluate("document.querySelector('#search').click()")
    wait_for_cards(page)
    assert text(page, "#decision code") == "/augment"
    assert text(page, "#decision .wrote").startswith("It wrote")


def test_both_routes_are_compared(page):
    page.evaluate("document.querySelector('[name=route][value=compare]').click()")
    page.type("#text", "What is the capital of France?")
    page.press_enter()
    page.wait_for("document.querySelectorAll('.column').length === 3")
    assert page.evaluate("document.querySelectorAll('.column li').length") == 36
    assert "results moved" in text(page, "#comparison-summary")


def test_a_chosen_picture_is_previewed_and_searched(page):
    page.choose_file("#image", QUERIES / "dog.png")
    page.wait_for("document.querySelector('#preview').naturalWidth > 0")
    page.evaluate("document.querySelector('#search').click()")
    wait_for_cards(page)
    page.wait_for("document.querySelector('#results img')?.naturalWidth > 0")
    assert text(page, "#decision code") == "/embed"


@pytest.fixture
def pictures(tmp_path):
    """The folder that pictures of the page are written to."""
    folder = Path(os.environ.get("SOLOMON_TEST_PICTURES") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.parametrize("width", [1280, 375])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_painted_in_both_schemes_and_widths(page, pictures, scheme, width):
    page.resize(width, 900)
    page.prefer(scheme)
    page.type("#text", "What is the capital of France?")
    page.press_enter()
    wait_for_cards(page)
    page.wait_for("document.querySelectorAll('#latency-legend li').length === 2")
    page.evaluate("document.querySelectorAll('.card img').forEach((image) => (image.loading = 'eager'))")
    page.wait_for("[...document.querySelectorAll('.card img')].every((image) => image.complete)")
    page.evaluate("document.activeElement.blur()")
    picture = pictures / f"page-{scheme}-{width}.png"
    picture.write_bytes(page.screenshot(whole=True))
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    scroll_bar = 20  # of a desktop's browser; the content is as wide as what it leaves
    assert width - scroll_bar <= pixels.shape[1] <= width
    assert pixels.shape[0] > 900
    # Not one colour, and neither is any third of it: the question, the answer and the panels are all there.
    for part in np.array_split(pixels, 3):
        assert len(np.unique(part.reshape(-1, 3), axis=0)) > 50
    ground = np.median(pixels.reshape(-1, 3), axis=0)
    assert (ground > 192).all() if scheme == "light" else (ground < 64).all()


def test_the_api_documentation_opens(browser, server):
    browser.faults.clear()
    browser.open(f"{server.url}/docs")
    browser.wait_for("document.querySelectorAll('.opblock').length > 10")
    assert browser.faults == []
