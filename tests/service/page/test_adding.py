"""Adding documents: files in, progress, and what was refused in words."""

import json

import httpx

from tests.e2e.inputs import DEMO_PICTURES
from tests.service.page.using import forgive_refusals, select, text


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
    page.evaluate(
        "(() => { const files = new DataTransfer(); files.items.add(new File(['words'], 'dropped.txt'));"
        "const event = new Event('drop', {bubbles: true, cancelable: true});"
        "Object.defineProperty(event, 'dataTransfer', {value: files});"
        "document.querySelector('#add-drop').dispatchEvent(event) })()"
    )
    page.wait_for("document.querySelector('#added').textContent.includes('1 document added to dropped')")
    assert httpx.delete(f"{page_url}/collections/dropped").status_code == 204


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
