"""`solomon embed` with a server: one item in one call, more in as many as the server's limits ask for."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

from service.cli.asking import Asking
from service.cli.client import Client
from service.cli.inputs import Given, body_of
from service.client import requests
from service.client.answers import limits_of
from service.client.batches import item_batcher
from service.client.calls import Call, Steps
from service.client.content import ItemBody
from service.client.errors import ServerProblem
from service.client.patience import NONE

_ADDRESS = re.compile(r"input\[(\d+)\](\.)?")


def embed_on_server(url: str, given: Sequence[Given], asking: Asking) -> dict[str, Any]:
    """The server's answer, that of several calls as if it were one's; every problem ends the command."""
    with Client(url) as client:
        if len(given) == 1:
            return client.call("POST", "/embed", {"input": body_of(given[0]), **asking.body()})
        return _joined(client, given, asking)


def _joined(client: Client, given: Sequence[Given], asking: Asking) -> dict[str, Any]:
    began = time.perf_counter()
    with client.failing():
        info = client.server.send(requests.info(), NONE)  # a server that is not there is told now
        limits = limits_of(info)

        def works() -> Iterator[Steps[dict[str, Any]]]:
            gathered, sources = item_batcher(limits), iter(given)
            for each in given:
                if batch := gathered.add(body_of(each)):
                    yield _part(batch, [next(sources).source for _ in batch], asking)
            if batch := gathered.close():
                yield _part(batch, [next(sources).source for _ in batch], asking)

        parts = list(client.server.stream(works()))
    entries = (entry for part in parts for entry in part["data"])
    return {
        **parts[0],
        "data": [{**entry, "index": index} for index, entry in enumerate(entries)],
        "usage": {name: sum(part["usage"][name] for part in parts) for name in parts[0]["usage"]},
        "latency_ms": round((time.perf_counter() - began) * 1000, 3),
    }


def _part(batch: Sequence[ItemBody], sources: Sequence[str], asking: Asking) -> Steps[dict[str, Any]]:
    """One call; the item that the server refuses is named as it was given, not by its place in the call."""

    def named(address: re.Match[str]) -> str:
        return f"{sources[int(address[1])]}{', ' if address[2] else ''}"

    try:
        answer: dict[str, Any] = yield Call("POST", "/embed", dict, {"input": batch, **asking.body()})
    except ServerProblem as problem:
        detail = _ADDRESS.sub(named, str(problem))
        raise ServerProblem(
            problem.status, {**problem.body, "detail": detail}, problem.retry_after
        ) from problem
    return answer
