"""Light and dark, wide and narrow, and for whoever uses a keyboard or a screen reader."""

from itertools import pairwise

import pytest

from tests.service.page.using import choose_route, search, text

# Roles that a user acts on or that stand for something: each needs a name.
NAMED = {
    "button",
    "checkbox",
    "combobox",
    "figure",
    "image",
    "img",
    "link",
    "progressbar",
    "radio",
    "searchbox",
    "slider",
    "spinbutton",
    "textbox",
}

# Of each visible text: its contrast with what lies behind it, if that is below WCAG 2's AA.
FAINT = """(() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b]
    .map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = parse(getComputedStyle(one).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    throw new Error('nothing is painted behind');
  };
  const ratio = (one, other) => {
    const [high, low] = [light(one), light(other)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  const faint = [];
  let seen = 0;
  const check = (element, style, words) => {
    seen += 1;
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const paint = element instanceof SVGElement ? style.fill : style.color;
    const found = ratio(parse(paint), behind(element));
    if (found < (large ? 3 : 4.5)) faint.push([words.trim(), found.toFixed(2), paint]);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || element.closest('.unseen') || !element.checkVisibility()) continue;
    check(element, getComputedStyle(element), walker.currentNode.data);
  }
  for (const field of document.querySelectorAll('[placeholder]')) {
    if (field.checkVisibility()) check(field, getComputedStyle(field, '::placeholder'), field.placeholder);
  }
  return {seen, faint};
})()"""

FOCUS_IS_SEEN = """(() => {
  const element = document.activeElement;
  const places = [element, element.nextElementSibling, element.closest('.ask')].filter(Boolean);
  return places.some((one) => {
    const style = getComputedStyle(one);
    return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
  });
})()"""


def show_everything(page):
    """Bring up what is not there at first: an answer with what was written, the filter and a fault."""
    choose_route(page, "augment")
    search(page)
    page.evaluate("document.querySelector('#filter-toggle').click()")
    page.evaluate("document.querySelector('#filter-raw').click()")
    page.evaluate("document.querySelector('#key-form').hidden = false")
    page.evaluate("import('/page/say.js').then(({sayFault}) => sayFault(new Error('a fault')))")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(page, scheme):
    page.prefer(scheme)
    show_everything(page)
    found = page.evaluate(FAINT)
    assert found["seen"] > 60
    assert found["faint"] == []
    choose_route(page, "compare")
    page.evaluate("document.querySelector('#filter-raw').click()")
    page.evaluate("document.querySelector('#search').click()")
    page.wait_for("document.querySelectorAll('.column').length === 3")
    assert page.evaluate(FAINT)["faint"] == []


@pytest.mark.parametrize("width", [1280, 800, 375, 320])
def test_nothing_is_wider_than_the_window(page, width):
    page.resize(width, 800)
    show_everything(page)
    page.evaluate("document.querySelector('#filter-raw').click()")
    page.evaluate("document.querySelector('.card details').open = true")
    fits = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    assert page.evaluate(fits)
    choose_route(page, "compare")
    page.wait_for("document.querySelectorAll('.column').length === 3")
    assert page.evaluate(fits)
    rows = page.evaluate(
        "new Set([...document.querySelectorAll('.column')].map((one) => one.offsetTop)).size"
    )
    assert rows == (1 if width > 960 else 3)


def test_the_question_grows_with_its_text_where_css_alone_does_not_do_it(page):
    heights = page.evaluate(
        "import('/page/growing.js').then(({grow}) => {"
        "const field = document.querySelector('#text'); field.style.fieldSizing = 'fixed';"
        "return ['one', 'one\\ntwo\\nthree', 'one', 'line\\n'.repeat(40)].map((words) => {"
        "field.value = words; grow(field); return field.offsetHeight }) })"
    )
    assert heights[1] > heights[0] == heights[2]
    assert heights[1] < heights[3] <= 12 * 16


def darkness(page):
    return page.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every((c) => c < 64)"
    )


def test_the_theme_follows_the_system_until_it_is_chosen(page, page_url):
    assert darkness(page) is False
    page.prefer("dark")
    assert darkness(page) is True
    page.evaluate("document.querySelector('#theme').click()")
    assert (text(page, "#theme"), darkness(page)) == ("Theme: light", False)
    page.open(f"{page_url}/?again")
    assert darkness(page) is False
    page.evaluate("document.querySelector('#theme').click()")
    assert (text(page, "#theme"), darkness(page)) == ("Theme: dark", True)
    page.evaluate("document.querySelector('#theme').click()")
    assert page.evaluate("localStorage.getItem('solomon-theme')") == "auto"


def test_every_control_has_a_name(page):
    show_everything(page)
    nodes = [(role, name) for role, name in page.accessible_names() if role in NAMED]
    assert len(nodes) > 25
    nameless = [role for role, name in nodes if not name.strip()]
    assert nameless == []


def test_headings_and_landmarks_are_in_order(page):
    search(page)
    roles = [role for role, _ in page.accessible_names()]
    for landmark in ("banner", "navigation", "main", "search", "complementary"):
        assert landmark in roles
    levels = page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3')].filter((one) => one.checkVisibility())"
        ".map((one) => Number(one.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_all_is_done_with_the_keyboard(page):
    page.evaluate("document.activeElement.blur()")
    page.press("/")
    page.wait_for("document.activeElement.id === 'text'")
    page.call("Input.insertText", text="a dog")
    page.press_enter()
    page.wait_for("document.querySelectorAll('.card').length > 0")
    reached = []
    while reached[-1:] != ["BODY"] and len(reached) < 60:
        assert page.evaluate(FOCUS_IS_SEEN), f"no focus is seen after {reached[-1:]}"
        page.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    for control in ("image", "search", "collection", "k", "filter-toggle", "threshold", "SUMMARY"):
        assert control in reached, reached
    page.evaluate("document.querySelector('[name=route]:checked').focus()")
    page.press("ArrowRight")
    page.wait_for("document.querySelector('#decision').innerText.includes('You forced this route')")


def test_what_happens_is_read_out(page):
    live = page.evaluate(
        "[...document.querySelectorAll('[role=status], [role=alert], [aria-live]')].map((one) => one.id)"
    )
    assert {"status", "fault", "added", "progress-text"} <= set(live)
