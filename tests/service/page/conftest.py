"""The web page in a real browser, served by an application with the tiny model."""

import httpx
import pytest

from index.store import FaissStore
from model.engine import Engine, EngineSettings
from service.app import create_app
from service.demo.corpus import demo_documents
from service.runtime import Backend
from service.settings import Settings
from service.vector_space import vector_space
from tests.e2e.browser import Browser, chromium
from tests.e2e.inputs import picture
from tests.service.listening import listening

KEY = "open-sesame"
PICTURES = ("dog", "banana", "guitar")
COUNTRIES = 5
DOCUMENTS = len(PICTURES) + COUNTRIES


def _application(model, folder, **changes):
    settings = Settings(data_dir=folder, demo=False, **changes)

    def open_it(opening):
        store = FaissStore(settings.data_dir)
        engine = Engine(model, EngineSettings(threads=1, dtype="float32"), observer=opening.observer)
        store.create("default", engine.info.dimensions, vector_space(engine.info))
        return Backend(engine, store)

    return create_app(settings, open_it)


def _fill(url, headers=None):
    """Some pictures and some countries of the demo corpus."""
    countries = [one for one in demo_documents() if one.metadata["kind"] == "country"][:COUNTRIES]
    documents = [
        {"id": f"emoji-{name}", "text": name, "image": picture(name), "metadata": {"kind": "emoji"}}
        for name in PICTURES
    ]
    documents += [{"id": one.id, "text": one.text, "metadata": dict(one.metadata)} for one in countries]
    with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        while client.get("/readyz").status_code != 200:
            pass
        added = client.post("/collections/default/documents", json={"documents": documents})
        assert added.status_code == 201, added.text


@pytest.fixture(scope="session")
def page_url(loaded_model, tmp_path_factory):
    """A server with eight documents in `default`."""
    with listening(_application(loaded_model, tmp_path_factory.mktemp("page") / "data")) as url:
        _fill(url)
        yield url


@pytest.fixture(scope="session")
def guarded_url(loaded_model, tmp_path_factory):
    """The same, with an API key."""
    with listening(
        _application(loaded_model, tmp_path_factory.mktemp("guarded") / "data", api_keys=KEY)
    ) as url:
        _fill(url, {"X-API-Key": KEY})
        yield url


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    executable = chromium()
    if executable is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    with Browser(executable, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def tab(browser):
    """The browser, wide and light and with nothing noted; whoever uses it opens an address."""
    browser.faults.clear()
    browser.addresses.clear()
    browser.resize(1280, 900)
    browser.prefer("light")
    return browser


@pytest.fixture
def page(tab, page_url):
    """The page, ready; at the end nothing may have gone wrong in it or left the server."""
    tab.open(f"{page_url}/")
    tab.wait_for(
        "document.querySelector('#threshold-value').textContent && document.querySelector('#target').value"
    )
    yield tab
    assert tab.faults == []
    foreign = [one for one in tab.addresses if not one.startswith((page_url, "data:", "blob:"))]
    assert tab.addresses
    assert foreign == []
