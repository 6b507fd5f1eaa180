"""What goes wrong is told in words, and a key is asked for where one is needed."""

import httpx

from tests.service.page.conftest import DOCUMENTS, KEY
from tests.service.page.using import choose_route, count, focused, forgive_refusals, search, text


def test_the_servers_problem_is_shown(page, page_url):
    assert httpx.put(f"{page_url}/collections/gone").status_code == 201
    page.open(f"{page_url}/?again")
    page.wait_for("document.querySelector('#collection').options.length > 1")
    page.evaluate("document.querySelector('#collection').value = 'gone'")
    assert httpx.delete(f"{page_url}/collections/gone").status_code == 204
    search(page)
    assert "No collection has that name" in text(page, "#fault")
    assert page.evaluate("document.querySelector('#fault').getAttribute('role')") == "alert"
    forgive_refusals(page)


def test_a_search_after_a_fault_takes_it_away(page):
    search(page, "")
    assert text(page, "#fault")
    search(page)
    assert text(page, "#fault") == ""


def test_a_server_that_is_gone_is_told(page):
    page.evaluate("window.fetch = () => Promise.reject(new TypeError('Failed to fetch'))")
    search(page)
    assert "The server does not answer" in text(page, "#fault")


def test_without_a_key_the_page_asks_for_one_and_sends_it_with_every_call(tab, guarded_url):
    tab.open(f"{guarded_url}/")
    tab.wait_for("document.activeElement.id === 'key'")
    tab.call("Input.insertText", text="wrong")
    tab.press_enter()
    tab.wait_for("document.querySelector('#fault').textContent.includes('not known')")
    tab.type("#key", KEY)
    tab.press_enter()
    tab.wait_for("document.querySelector('#target').value === 'default'")
    assert tab.evaluate("document.querySelector('#key-form').hidden") is True
    assert text(tab, "#fault") == ""
    choose_route(tab, "embed")
    search(tab)
    assert count(tab, ".card") == DOCUMENTS
    tab.wait_for("document.querySelector('.card img').naturalWidth > 0")
    assert tab.evaluate("sessionStorage.length + localStorage.length") == 1
    tab.evaluate("document.querySelector('#forget-key').click()")
    tab.wait_for("!document.querySelector('#key-form').hidden")
    assert tab.evaluate("sessionStorage.length") == 0
    forgive_refusals(tab)
    assert tab.faults == []


def test_a_key_that_cannot_be_sent_is_told_and_asked_for_again(tab, guarded_url):
    tab.open(f"{guarded_url}/")
    tab.wait_for("document.activeElement.id === 'key'")
    tab.call("Input.insertText", text="ключ")
    tab.press_enter()
    tab.wait_for("document.querySelector('#fault').textContent.includes('characters that a key cannot have')")
    assert focused(tab) == "key"
    tab.call("Input.insertText", text=KEY)
    tab.press_enter()
    tab.wait_for("document.querySelector('#target').value === 'default'")
    assert focused(tab) == "text"
    tab.evaluate("document.querySelector('#forget-key').click()")
    tab.wait_for("document.activeElement.id === 'key'")
    forgive_refusals(tab)
    assert tab.faults == []


NO_INFO_AT_FIRST = """(() => {
  const fetch = window.fetch.bind(window);
  let failures = 1;
  window.fetch = (path, options) => {
    const fails = path === '/info' && failures-- > 0;
    return fails ? Promise.reject(new TypeError('Failed to fetch')) : fetch(path, options);
  };
})()"""


def test_a_server_that_does_not_answer_at_first_is_asked_again(tab, page_url):
    script = tab.call("Page.addScriptToEvaluateOnNewDocument", source=NO_INFO_AT_FIRST)["identifier"]
    try:
        tab.open(f"{page_url}/?later")
        tab.wait_for("document.querySelector('#fault').textContent.includes('does not answer')")
        tab.wait_for("document.querySelector('#target').value === 'default'")
    finally:
        tab.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)
    assert text(tab, "#threshold-value").endswith("%")
    assert text(tab, "#fault") == ""
    assert tab.faults == []


def test_without_keys_on_the_server_none_is_asked_for(page):
    assert page.evaluate("document.querySelector('#key-form').hidden") is True
