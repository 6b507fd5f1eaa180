"""Many clients of mixed routes at once: every answer is 200 or 429, and afterwards all is quiet.

`SOLOMON_E2E_LOAD_SECONDS` is how long they keep asking (20 by default).
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import Counter

import httpx
import pytest

from tests.e2e.inputs import CAPTIONS, QUESTIONS, data_uri, noise, picture

CLIENTS = 64
SECONDS = float(os.environ.get("SOLOMON_E2E_LOAD_SECONDS", "20"))


def calls(client_number):
    """An endless mix of calls; each client begins at another place in it."""
    fresh = itertools.count(1000 * client_number)

    def one(turn):
        kinds = (
            ("/embed", {"input": QUESTIONS[turn % 4], "max_augment_tokens": 16}),
            ("/embed", {"input": CAPTIONS[turn % 4]}),
            ("/search", {"query": CAPTIONS[turn % 4], "k": 5}),
            ("/embed", {"input": {"image": data_uri(noise(next(fresh)))}, "route": "embed"}),
            ("/embed", {"input": f"document {next(fresh)}", "input_type": "document"}),
            ("/search", {"query": {"image": picture("dog")}, "k": 5}),
            ("/embed", {"input": QUESTIONS[turn % 4], "route": "augment", "max_augment_tokens": 8}),
            ("/v1/embeddings", {"input": [CAPTIONS[0], QUESTIONS[0]], "model": "solomon", "route": "embed"}),
        )
        return kinds[turn % len(kinds)]

    return (one(turn) for turn in itertools.count(client_number))


def keep_asking(url, client_number, until, outcomes):
    with httpx.Client(base_url=url, timeout=180) as client:
        for path, body in calls(client_number):
            if time.monotonic() > until:
                return
            try:
                response = client.post(path, json=body)
                outcomes[response.status_code] += 1
            except httpx.HTTPError as error:
                outcomes[repr(error)] += 1


@pytest.fixture(scope="module")
def outcomes(server):
    counters = [Counter() for _ in range(CLIENTS)]
    until = time.monotonic() + SECONDS
    threads = [
        threading.Thread(target=keep_asking, args=(server.url, number, until, counter), daemon=True)
        for number, counter in enumerate(counters)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counters, Counter())


@pytest.mark.timeout(600)
def test_every_answer_is_a_success_or_a_refusal_for_load(outcomes):
    assert set(outcomes) <= {200, 429}, outcomes
    assert outcomes[200] >= CLIENTS


def test_afterwards_the_server_is_idle_and_healthy(outcomes, client):
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 200
    assert "\nsolomon_queue_depth 0.0\n" in client.get("/metrics").text
    assert client.post("/embed", json={"input": "quick", "route": "embed"}).status_code == 200
