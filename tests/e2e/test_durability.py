"""kill -9 while documents stream in: what was acknowledged is there again, what was deleted stays gone."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field

import httpx
import numpy as np
import pytest

from tests.e2e.inputs import CAPTIONS, picture

ROUNDS = 2
ACKNOWLEDGED_BEFORE_THE_KILL = 12  # calls
BATCH = 3
COLLECTION = "stream"
PROBES = [*CAPTIONS, {"image": picture("cat")}, {"text": "what is it?", "image": picture("cat")}]


@dataclass
class Ledger:
    """What the server said of each document; a call that was cut off leaves its documents in doubt."""

    present: dict[str, str] = field(default_factory=dict)  # id to text
    deleted: set[str] = field(default_factory=set)
    cut_off_batches: list[list[str]] = field(default_factory=list)
    cut_off_deletions: set[str] = field(default_factory=set)


class Ingestion(threading.Thread):
    """Posts batches and deletes some of their documents again, until the server is gone."""

    def __init__(self, url: str, ledger: Ledger, first: int) -> None:
        super().__init__(daemon=True)
        self._url, self._ledger, self._next = url, ledger, first
        self.calls = 0
        self.enough = threading.Event()
        self.unexpected: str | None = None

    def run(self) -> None:
        with httpx.Client(base_url=f"{self._url}/collections/{COLLECTION}", timeout=60) as client:
            while self.unexpected is None and self._add(client) and self._delete_sometimes(client):
                self.calls += 1
                if self.calls >= ACKNOWLEDGED_BEFORE_THE_KILL:
                    self.enough.set()
        self.enough.set()

    def _add(self, client: httpx.Client) -> bool:
        numbers = range(self._next, self._next + BATCH)
        batch = {f"d{number}": f"note {number}" for number in numbers}
        self._next += BATCH
        documents = [{"id": name, "text": text} for name, text in batch.items()]
        try:
            response = client.post("/documents", json={"documents": documents})
        except httpx.TransportError:
            self._ledger.cut_off_batches.append(list(batch))
            return False
        if response.status_code == 201:
            self._ledger.present.update(batch)
        else:
            self.unexpected = response.text
        return True

    def _delete_sometimes(self, client: httpx.Client) -> bool:
        if self.calls % 2:
            return True
        name = random.choice(sorted(self._ledger.present))
        try:
            response = client.delete(f"/documents/{name}")
        except httpx.TransportError:
            self._ledger.cut_off_deletions.add(name)
            del self._ledger.present[name]
            return False
        if response.status_code == 204:
            self._ledger.deleted.add(name)
            del self._ledger.present[name]
        else:
            self.unexpected = response.text
        return True


def embed_probes(url):
    """A vector for each probe, each in a call of its own, so that both times it is a batch of one."""
    calls = [{"input": probe, "route": "embed"} for probe in PROBES]
    answers = [httpx.post(f"{url}/embed", json=call, timeout=180).json() for call in calls]
    return np.array([answer["data"][0]["embedding"] for answer in answers])


def served_ids(url):
    call = {"query": "note", "collection": COLLECTION, "k": 1000, "route": "embed"}
    answer = httpx.post(f"{url}/search", json=call, timeout=180)
    assert answer.status_code == 200, answer.text
    return [hit["id"] for hit in answer.json()["results"]]


@dataclass
class Aftermath:
    """The server after its last restart, and what is known of it."""

    url: str
    ledger: Ledger
    vectors_before: np.ndarray


@pytest.fixture(scope="module")
def aftermath(start_server):
    server = start_server()
    vectors = embed_probes(server.url)
    assert httpx.put(f"{server.url}/collections/{COLLECTION}", timeout=60).status_code == 201
    ledger = Ledger()
    for round_number in range(ROUNDS):
        ingestion = Ingestion(server.url, ledger, first=10_000 * round_number)
        ingestion.start()
        assert ingestion.enough.wait(240), "the server does not take documents"
        assert ingestion.unexpected is None, ingestion.unexpected
        # A random moment of whatever call is under way.
        threading.Event().wait(random.uniform(0, 0.3))
        server.kill()
        ingestion.join(120)
        assert ingestion.unexpected is None, ingestion.unexpected
        server.start()
    return Aftermath(server.url, ledger, vectors)


def test_everything_acknowledged_is_there(aftermath):
    assert len(aftermath.ledger.present) > ROUNDS * ACKNOWLEDGED_BEFORE_THE_KILL
    assert set(aftermath.ledger.present) <= set(served_ids(aftermath.url))
    with httpx.Client(base_url=f"{aftermath.url}/collections/{COLLECTION}/documents", timeout=60) as client:
        for name, text in aftermath.ledger.present.items():
            assert client.get(f"/{name}").json()["text"] == text


def test_nothing_deleted_comes_back(aftermath):
    assert aftermath.ledger.deleted
    assert not aftermath.ledger.deleted & set(served_ids(aftermath.url))
    with httpx.Client(base_url=f"{aftermath.url}/collections/{COLLECTION}/documents", timeout=60) as client:
        for name in aftermath.ledger.deleted:
            assert client.get(f"/{name}").status_code == 404


def test_a_call_that_was_cut_off_is_whole_or_absent(aftermath):
    served = set(served_ids(aftermath.url))
    for batch in aftermath.ledger.cut_off_batches:
        assert served.issuperset(batch) or served.isdisjoint(batch)


def test_nothing_else_is_served(aftermath):
    served = served_ids(aftermath.url)
    ledger = aftermath.ledger
    in_doubt = {name for batch in ledger.cut_off_batches for name in batch} | ledger.cut_off_deletions
    assert set(served) <= set(ledger.present) | in_doubt
    assert len(served) == len(set(served))
    count = httpx.get(f"{aftermath.url}/collections/{COLLECTION}", timeout=60).json()["count"]
    assert count == len(served)


def test_the_same_input_gives_the_same_vector_after_a_restart(aftermath):
    np.testing.assert_allclose(embed_probes(aftermath.url), aftermath.vectors_before, rtol=0, atol=1e-6)
