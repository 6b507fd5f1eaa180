"""What a user does with the page, and what one reads off it."""

import json


def count(page, selector):
    return page.evaluate(f"document.querySelectorAll('{selector}').length")


def text(page, selector):
    return page.evaluate(f"document.querySelector('{selector}').innerText")


def choose_route(page, route):
    page.evaluate(f"document.querySelector('[name=route][value={route}]').click()")


def search(page, words="a dog"):
    """Search and wait for the end of it."""
    if words:
        page.evaluate("document.querySelector('#text').value = ''")
        page.type("#text", words)
        page.press_enter()
    else:
        page.evaluate("document.querySelector('#search').click()")
    page.wait_for(
        "document.querySelector('#results').ariaBusy === 'false' && "
        "(document.querySelector('#status').textContent + document.querySelector('#fault').textContent)"
    )
    assert text(page, "#status") != "Searching…"


def replace_fetch(page, function):
    """Have the page call `function` in place of fetch: JavaScript of `(path, options, fetch)`."""
    page.evaluate(
        "(() => { const fetch = window.fetch.bind(window);"
        f"const replaced = {function};"
        "window.fetch = (path, options = {}) => replaced(path, options, fetch) })()"
    )


def drop(page, selector, transfer, event="drop"):
    """Drop a data transfer, which is JavaScript; tells whether the page took it from the browser."""
    return page.evaluate(
        f"(() => {{ const event = new Event('{event}', {{bubbles: true, cancelable: true}});"
        f"Object.defineProperty(event, 'dataTransfer', {{value: {transfer}}});"
        f"return !document.querySelector('{selector}').dispatchEvent(event) }})()"
    )


def focused(page):
    return page.evaluate("document.activeElement.id")


def select(page, selector, value):
    """Choose in a select."""
    page.evaluate(
        f"(() => {{ const select = document.querySelector('{selector}'); select.value = {json.dumps(value)};"
        "select.dispatchEvent(new Event('change', {bubbles: true})) })()"
    )


def forgive_refusals(page):
    """Forget the browser's own notes of answers with an error status, which the test asked for."""
    page.faults[:] = [fault for fault in page.faults if "Failed to load resource" not in fault]
