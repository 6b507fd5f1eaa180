"""Asking: in words, with a picture, with a filter, either way and both ways."""

import base64

import pytest

from tests.e2e.inputs import DEMO_PICTURES
from tests.service.page.conftest import COUNTRIES, DOCUMENTS, PICTURES
from tests.service.page.using import choose_route, count, drop, focused, replace_fetch, search, text


def move_threshold(page, share):
    page.evaluate(
        f"(() => {{ const slider = document.querySelector('#threshold'); slider.value = {share};"
        "slider.dispatchEvent(new Event('input')); slider.dispatchEvent(new Event('change')) })()"
    )


def test_the_threshold_begins_at_the_checkpoints(page):
    threshold = page.evaluate("fetch('/info').then((r) => r.json()).then((info) => info.augment_threshold)")
    assert text(page, "#threshold-value") == f"{100 * threshold:.1f} %"


def test_a_small_threshold_is_written_alike_everywhere_and_can_be_chosen(page):
    page.evaluate(
        "Promise.all([import('/page/server.js'), import('/page/threshold.js')])"
        ".then(([{info}, {showThreshold}]) => { info.augment_threshold = 0.0188; showThreshold() })"
    )
    search(page)
    label = page.evaluate("document.querySelector('#decision .scale').getAttribute('aria-label')")
    assert label.endswith("threshold: 1.9 %")
    assert text(page, "#threshold-value") == "1.9 %"
    move_threshold(page, 0.019)
    assert page.evaluate("document.querySelector('#threshold').value") == "0.019"
    assert text(page, "#threshold-value") == "1.9 %"


def test_the_collections_are_listed(page):
    assert text(page, "#collection").strip() == f"default ({DOCUMENTS} documents)"
    assert page.evaluate("document.querySelector('#target').value") == "default"


@pytest.mark.parametrize("route", ["embed", "augment"])
def test_a_forced_route_shows_what_was_found_and_what_was_done(page, route):
    choose_route(page, route)
    search(page)
    assert count(page, ".card") == DOCUMENTS
    assert text(page, "#decision code") == f"/{route}"
    assert "You forced this route" in text(page, "#decision")
    assert count(page, "#decision .wrote") == (route == "augment")
    assert text(page, ".stages").count("ms") == 5
    assert "Waiting" in text(page, ".stages")
    page.wait_for(
        "document.querySelector('.card img') && document.querySelector('.card img').naturalWidth > 0"
    )


def test_the_model_s_own_choice_comes_with_its_confidence_and_the_threshold(page):
    search(page)
    assert text(page, "#decision .confidence").endswith("%")
    label = page.evaluate("document.querySelector('#decision .scale').getAttribute('aria-label')")
    assert "Probability of thinking first" in label
    assert "threshold" in label


def test_the_threshold_decides_and_the_page_says_that_it_was_the_users(page):
    search(page)
    own = text(page, "#threshold-value")
    taken = text(page, "#decision code")
    assert "Your threshold" not in text(page, "#decision")
    for share, percent, route in ((0, "0.0 %", "augment"), (1, "100.0 %", "embed")):
        move_threshold(page, share)
        page.wait_for(
            f"document.querySelector('#decision').innerText.includes('Your threshold of {percent}')"
        )
        assert text(page, "#decision code") == f"/{route}"
        instead = {"/embed": "embedded at once", "/augment": "thought first"}[taken]
        instead = "done the same" if taken == f"/{route}" else instead
        assert f"with the model's own, {own}, it would have {instead}" in text(page, "#decision")
    page.evaluate("document.querySelector('#threshold-reset').click()")
    assert page.evaluate("document.querySelector('#threshold-reset').hidden") is True
    page.wait_for("!document.querySelector('#decision').innerText.includes('Your threshold')")


def test_comparing_shows_three_lists_and_what_moved(page):
    choose_route(page, "compare")
    search(page)
    page.wait_for("document.querySelectorAll('.column').length === 3")
    assert [count(page, f".column:nth-child({n}) li") for n in (1, 2, 3)] == [DOCUMENTS] * 3
    assert count(page, ".column:nth-child(1) .moved") == 0
    assert count(page, ".moved") == 2 * DOCUMENTS
    assert "moved" in text(page, "#comparison-summary")
    # The route that the model took, forced, gives the very same list.
    taken = page.evaluate("document.querySelector('.column .badge').classList.contains('embed')")
    assert count(page, f".column:nth-child({2 if taken else 3}) .moved.same") == DOCUMENTS


NOTE_ROUTES = """(path, options, fetch) => {
  if (path === '/search') (window.routes ??= []).push(JSON.parse(options.body).route);
  return fetch(path, options);
}"""


@pytest.mark.parametrize("picture", [False, True])
def test_a_picture_is_read_before_its_times_are_compared(page, picture):
    if picture:
        page.choose_file("#image", DEMO_PICTURES / "dog.png")
        page.wait_for("document.querySelector('#preview').naturalWidth > 0")
    replace_fetch(page, NOTE_ROUTES)
    choose_route(page, "compare")
    search(page)
    compared = ["auto", "embed", "augment"]
    assert page.evaluate("window.routes") == (["embed", *compared] if picture else compared)
    assert count(page, ".column") == 3
    assert ("picture had been read before" in text(page, "#comparison-summary")) is picture


def test_a_comparison_that_fails_waits_for_nothing(page):
    replace_fetch(
        page,
        "(path, options, fetch) => options.body?.includes('\"augment\"')"
        " ? Promise.reject(new TypeError('Failed to fetch')) : fetch(path, options)",
    )
    choose_route(page, "compare")
    search(page)
    assert count(page, ".column") == 2
    assert text(page, "#comparison-summary").startswith("Not compared")
    assert "The server does not answer" in text(page, "#fault")


def test_the_comparison_takes_over_the_focus(page):
    choose_route(page, "embed")
    search(page)
    page.evaluate("document.querySelector('#compare').focus()")
    page.press_enter()
    page.wait_for("document.querySelectorAll('.column').length === 3")
    assert focused(page) == "comparison-title"
    seen = "(({top}) => top >= 0 && top < innerHeight)"
    page.wait_for(f"{seen}(document.querySelector('#comparison-title').getBoundingClientRect())")


def test_an_example_leaves_the_focus_in_the_question(page):
    page.evaluate("document.querySelector('[data-example]').focus()")
    page.press_enter()
    page.wait_for("document.querySelectorAll('.card').length > 0")
    assert page.evaluate("document.querySelector('#welcome').hidden") is True
    assert focused(page) == "text"


def test_what_moved_is_told_for_each_result(page):
    lists = "['b', 'a', 'd', 'x'], ['a', 'b', 'c', 'd']"
    moves = page.evaluate(f"import('/page/movement.js').then(({{movement}}) => movement({lists}))")
    assert [(one["id"], one["kind"], one["by"]) for one in moves["moves"]] == [
        ("b", "up", 1),
        ("a", "down", 1),
        ("d", "up", 1),
        ("x", "new", 0),
    ]
    assert moves["missing"] == ["c"]


def test_a_chosen_picture_is_searched_with_and_removed_again(page):
    page.choose_file("#image", DEMO_PICTURES / "dog.png")
    page.wait_for("document.querySelector('#preview').naturalWidth > 0")
    choose_route(page, "embed")
    search(page, "")
    assert count(page, ".card") == DOCUMENTS
    page.evaluate("document.querySelector('#clear').click()")
    assert page.evaluate("document.querySelector('#picture').hidden") is True


@pytest.mark.parametrize(("event", "field"), [("drop", "dataTransfer"), ("paste", "clipboardData")])
def test_a_dropped_or_pasted_picture_is_taken(page, event, field):
    data = base64.b64encode((DEMO_PICTURES / "banana.png").read_bytes()).decode()
    page.evaluate(
        f"(() => {{ const bytes = Uint8Array.from(atob('{data}'), (c) => c.charCodeAt(0));"
        "const files = new DataTransfer(); files.items.add(new File([bytes], 'a.png', {type: 'image/png'}));"
        f"const event = new Event('{event}', {{bubbles: true, cancelable: true}});"
        f"Object.defineProperty(event, '{field}', {{value: files}});"
        "document.querySelector('#drop').dispatchEvent(event); })()"
    )
    page.wait_for("document.querySelector('#preview').naturalWidth > 0")


def test_dragged_text_is_left_to_the_browser(page):
    words = "(() => { const one = new DataTransfer(); one.setData('text/plain', 'words'); return one })()"
    file = "(() => { const one = new DataTransfer(); one.items.add(new File([''], 'a.png')); return one })()"
    assert drop(page, "#text", words, "dragover") is False
    assert page.evaluate("document.querySelector('#drop').classList.contains('dropping')") is False
    assert drop(page, "#text", words) is False
    assert text(page, "#fault") == ""
    assert drop(page, "#text", file, "dragover") is True
    assert page.evaluate("document.querySelector('#drop').classList.contains('dropping')") is True


def test_a_condition_leaves_out_what_does_not_fit(page):
    page.evaluate("document.querySelector('#filter-toggle').click()")
    page.type(".condition input", "kind")
    page.type(".condition input[aria-label=Value]", "emoji")
    assert text(page, "#filter-toggle") == "Filter: on"
    search(page)
    assert count(page, ".card") == len(PICTURES)


def test_a_filter_is_written_as_json(page):
    page.evaluate("document.querySelector('#filter-toggle').click()")
    page.evaluate("document.querySelector('#filter-raw').click()")
    page.type("#filter-json", '{"population": {"gte": 1}}')
    search(page)
    assert count(page, ".card") == COUNTRIES


def test_json_that_is_none_is_told(page):
    page.evaluate("document.querySelector('#filter-toggle').click()")
    page.evaluate("document.querySelector('#filter-raw').click()")
    page.type("#filter-json", '{"population": ')
    search(page)
    assert "The filter is not JSON" in text(page, "#fault")


CONDITIONS = [
    ([("kind", "eq", "emoji")], {"kind": "emoji"}),
    ([("year", "gte", "2000"), ("name", "ne", '"7"')], {"year": {"gte": 2000}, "name": {"ne": "7"}}),
    ([("year", "gte", "1"), ("year", "lt", "2.5")], {"$and": [{"year": {"gte": 1}}, {"year": {"lt": 2.5}}]}),
    ([("kind", "in", "a, b"), ("x", "absent", "")], {"kind": {"in": ["a", "b"]}, "x": {"exists": False}}),
    ([("seen", "eq", "true"), ("", "eq", "ignored")], {"seen": True}),
    ([("", "eq", "")], None),
]


@pytest.mark.parametrize(("conditions", "expected"), CONDITIONS)
def test_conditions_become_the_filter_that_the_server_takes(page, conditions, expected):
    rows = [{"name": name, "operator": operator, "value": value} for name, operator, value in conditions]
    assert page.evaluate(f"import('/page/filter.js').then(({{filterOf}}) => filterOf({rows!r}))") == expected


def test_nothing_to_search_for_is_told(page):
    page.evaluate("document.querySelector('#search').click()")
    page.wait_for("document.querySelector('#fault').textContent.includes('Nothing to search for')")
    assert page.evaluate("document.activeElement.id") == "text"
