"""Brings a corpus into a collection, and reports as it comes along; see `service.client.bringing`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from service.cli.client import Client
from service.client.answers import Limits
from service.client.batches import Gathering
from service.client.bringing import VectorMaker, bring
from service.client.calls import Steps
from service.client.outcomes import Failure, Outcome
from service.corpus.entries import Entry


def server_limits(client: Client) -> Limits:
    """What one call may hold."""
    with client.failing():
        return client.server.limits()


def upload(
    client: Client,
    collection: str,
    corpus: Iterable[Entry | Failure],
    limits: Limits,
    report: Callable[[Outcome], None],
    vectors: VectorMaker[Entry] | None = None,
) -> None:
    """Bring a corpus into a collection that exists, and tell `report` (on this thread) as it comes along.

    With `vectors` the documents are embedded here.
    """
    gathering: Gathering[Entry] = Gathering(limits)

    def works() -> Iterator[Steps[Outcome]]:
        for entry in corpus:
            if batch := gathering.add(entry):
                yield bring(collection, batch, vectors)
        if batch := gathering.close():
            yield bring(collection, batch, vectors)

    with client.failing():
        for outcome in client.server.stream(works()):
            report(outcome)
            report(gathering.aside())
    report(gathering.aside())
