"""Adding documents: files in, progress, and what was refused in words."""

import json

import httpx

from tests.e2e.inputs import DEMO_PICTURES
from tests.service.page.using import drop, focused, forgive_refusals, replace_fetch, select, text


def add(page, *paths):
    page.choose_file("#files", *paths)
    page.wait_for("document.querySelector('#added').textContent && document.querySelector('#sending').hidden")


def test_files_go_into_a_new_collection_and_what_is_bad_is_named(page, page_url, tmp_path):
    notes = tmp_path / "notes.md"
    notes.write_text("The first paragraph.\n\nThe second\nhas two lines.\n")
    rows = tmp_path / "rows.jsonl"
    good = {"id": "row-1", "text": "a row", "metadata": {"year": 2001}}
    rows.write_text(f"{json.dumps(good)}\nno json\n{json.dumps({'id': 'row-2', 'metadata': {}})}\n")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not a picture")
    other = tmp_path / "letter.pdf"
    other.write_bytes(b"%PDF")
    select(page, "#target", "")
    page.type("#new-name", "mixed")
    page.evaluate("document.querySelector('#captions').click()")
    add(page, DEMO_PICTURES / "alarm-clock.png", notes, rows, broken, other)
    assert text(page, "#added").startswith("4 documents added to mixed")
    refused = page.evaluate("[...document.querySelectorAll('#refused li')].map((one) => one.textContent)")
    assert len(refused) == 4
    for part in ("rows.jsonl, line 2: not JSON", "rows.jsonl, line 3", "broken.png", "letter.pdf: neither"):
        assert any(part in line for line in refused), (part, refused)
    documents = f"{page_url}/collections/mixed/documents"
    assert httpx.get(f"{documents}/alarm-clock.png").json()["text"] == "alarm clock"
    assert (
        httpx.get(f"{documents}/alarm-clock.png/image").content
        == (DEMO_PICTURES / "alarm-clock.png").read_bytes()
    )
    assert httpx.get(f"{documents}/notes.md%232").json()["text"] == "The second\nhas two lines."
    assert httpx.get(f"{documents}/row-1").json()["metadata"] == {"year": 2001}
    page.wait_for("document.querySelector('#collection').value === 'mixed'")
    assert httpx.delete(f"{page_url}/collections/mixed").status_code == 204
    forgive_refusals(page)


def test_a_new_collection_needs_a_name_that_the_server_takes(page, tmp_path):
    note = tmp_path / "note.txt"
    note.write_text("words")
    select(page, "#target", "")
    add(page, note)
    assert "needs a name" in text(page, "#added")
    page.type("#new-name", "Not This")
    page.evaluate("document.querySelector('#added').textContent = ''")
    add(page, note)
    assert "1 to 64 characters" in text(page, "#added")
    forgive_refusals(page)


def test_dropped_files_are_added(page, page_url):
    select(page, "#target", "")
    page.type("#new-name", "dropped")
    file = "new File(['words'], 'dropped.txt')"
    drop(
        page,
        "#add-drop",
        f"(() => {{ const files = new DataTransfer(); files.items.add({file}); return files }})()",
    )
    page.wait_for("document.querySelector('#added').textContent.includes('1 document added to dropped')")
    assert httpx.delete(f"{page_url}/collections/dropped").status_code == 204


# A folder of which the second portion cannot be read, beside a file that cannot be read.
HALF_READABLE = """(() => {
  const fails = (resolve, reject) => reject(new DOMException('it is gone'));
  const entry = (fullPath, file) => ({isFile: true, fullPath, file});
  const good = entry('/notes/good.txt', (resolve) => resolve(new File(['words'], 'good.txt')));
  const portions = [(resolve) => resolve([good]), fails];
  const reader = {readEntries: (...answers) => portions.shift()(...answers)};
  const folder = {isFile: false, fullPath: '/notes', createReader: () => reader};
  const items = [folder, entry('/bad.txt', fails)].map((one) => ({webkitGetAsEntry: () => one}));
  return {types: ['Files'], items, files: []};
})()"""


def test_what_cannot_be_read_of_a_drop_is_named_and_the_rest_added(page, page_url):
    select(page, "#target", "")
    page.type("#new-name", "half")
    drop(page, "#add-drop", HALF_READABLE)
    page.wait_for("document.querySelector('#added').textContent.includes('1 document added to half')")
    refused = page.evaluate("[...document.querySelectorAll('#refused li')].map((one) => one.textContent)")
    assert sorted(refused) == [
        "bad.txt: could not be read: it is gone",
        "notes: could not be read: it is gone",
    ]
    assert httpx.delete(f"{page_url}/collections/half").status_code == 204


def test_an_empty_folder_is_told(page):
    empty = "{isFile: false, fullPath: '/empty', createReader: () => ({readEntries: (take) => take([])})}"
    drop(
        page, "#add-drop", f"{{types: ['Files'], items: [{{webkitGetAsEntry: () => ({empty})}}], files: []}}"
    )
    page.wait_for("document.querySelector('#added').textContent.includes('no file')")


def test_the_bar_moves_within_one_large_file(page, page_url, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": f"row {number}"}) + "\n" for number in range(40)))
    select(page, "#target", "")
    page.type("#new-name", "rows")
    page.evaluate(
        "(() => { const bar = document.querySelector('#progress'); window.shares = [];"
        "new MutationObserver(() => shares.push(bar.value)).observe(bar, {attributes: true}) })()"
    )
    add(page, rows)
    assert text(page, "#added").startswith("40 documents added to rows")
    shares = {round(share, 3) for share in page.evaluate("window.shares")}
    assert shares == {0, 0.4, 0.8, 1}
    assert httpx.delete(f"{page_url}/collections/rows").status_code == 204


def test_after_stop_the_focus_is_where_files_are_chosen(page, tmp_path):
    note = tmp_path / "note.txt"
    note.write_text("words")
    replace_fetch(
        page,
        "(path, options, fetch) => options.method !== 'POST' ? fetch(path, options)"
        " : new Promise((_, reject) =>"
        " options.signal.addEventListener('abort', () => reject(options.signal.reason)))",
    )
    page.choose_file("#files", note)
    page.wait_for("!document.querySelector('#sending').hidden")
    page.evaluate("document.querySelector('#stop').focus()")
    page.press_enter()
    page.wait_for("document.querySelector('#sending').hidden")
    assert text(page, "#added") == "Stopped."
    assert focused(page) == "files"


def test_batches_keep_to_the_servers_limits(page):
    sizes = page.evaluate(
        "import('/page/sending.js').then(({batches}) => batches("
        "[10, 40000, 40000, 10, 10].map((length) => ({document: {image: 'x'.repeat(length)}})),"
        "{max_items: 2, max_body_bytes: 100000}).map((batch) => batch.length))"
    )
    assert sizes == [2, 2, 1]
    whole = page.evaluate(
        "import('/page/sending.js').then(({batches}) => batches("
        "Array(40).fill({document: {text: 'x'}}), {max_items: 256, max_body_bytes: 1e6})"
        ".map((batch) => batch.length))"
    )
    assert whole == [16, 16, 8]
