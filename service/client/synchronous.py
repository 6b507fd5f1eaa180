"""`Solomon`: the client that blocks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from service.client import requests
from service.client.answers import (
    Collection,
    Embeddings,
    Limits,
    SearchAnswer,
    ServerInfo,
    StoredDocument,
    limits_of,
)
from service.client.batches import Gathering, item_batches
from service.client.bringing import bring
from service.client.calls import Call, Steps, one
from service.client.configuration import Configuration
from service.client.content import Document, Item, PreparedDocument, prepare
from service.client.errors import ServerProblem, Unreachable
from service.client.outcomes import Outcome
from service.client.patience import Patience
from service.client.replies import read_content, read_reply, unreachable
from service.client.requests import InputType, Route, Routing

T = TypeVar("T")


class Solomon:
    """A connection to one server; thread-safe. Use it in a `with`, or `close` it.

    Every method raises `ServerProblem`, `Unreachable` or `NotSolomon`. Calls that the server turns away for
    the moment are made again after the pause that it asks for, within `patience`.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        patience: Patience | None = None,
        timeout: float = 660.0,
        concurrency: int = 4,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """See `Configuration` for the options; `transport` replaces the network."""
        self._configuration = Configuration.given(url, api_key, patience, timeout, concurrency)
        self._limits: Limits | None = None
        self._http = httpx.Client(
            base_url=self._configuration.url,
            headers=self._configuration.headers,
            timeout=self._configuration.timeouts,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def info(self) -> ServerInfo:
        """What is served: model, dimensions, threshold, limits."""
        return self.send(requests.info())

    def embed(
        self,
        items: str | Item | Iterable[str | Item],
        *,
        input_type: InputType = "query",
        route: Route = "auto",
        instruction: str | None = None,
        augment_threshold: float | None = None,
        max_augment_tokens: int | None = None,
        dimensions: int | None = None,
        truncate: bool = False,
    ) -> Embeddings:
        """Embed any number of items, in calls of as many as the server takes, side by side."""
        routing = Routing(route, instruction, augment_threshold, max_augment_tokens)
        given = [items] if isinstance(items, str | Item) else items
        calls = (
            requests.embed(batch, input_type, routing, dimensions, truncate)
            for batch in item_batches(given, self.limits())
        )
        return Embeddings.joined(list(self.stream(one(call) for call in calls)))

    def search(
        self,
        query: str | Item | None = None,
        *,
        vector: Sequence[float] | None = None,
        collection: str = "default",
        k: int = 10,
        filter: Mapping[str, Any] | None = None,
        route: Route = "auto",
        instruction: str | None = None,
        augment_threshold: float | None = None,
        max_augment_tokens: int | None = None,
    ) -> SearchAnswer:
        """Find the documents nearest to a query, or to a vector."""
        routing = Routing(route, instruction, augment_threshold, max_augment_tokens)
        return self.send(requests.search(query, vector, collection, k, filter, routing))

    def ingest(self, documents: Iterable[Document], collection: str = "default") -> Iterator[Outcome]:
        """Bring documents into a collection (made if it is missing) as they come; yields what became of them.

        Batches are under way side by side, a bounded number of them, and no more documents are taken from
        the iterator than these hold. What the collection holds with the same content is not sent again, so
        a job that was cut short is simply run again.
        """
        self.make_collection(collection)
        gathering: Gathering[PreparedDocument] = Gathering(self.limits())

        def work() -> Iterator[Steps[Outcome]]:
            for position, document in enumerate(documents):
                if batch := gathering.add(prepare(document, position)):
                    yield bring(collection, batch)
            if batch := gathering.close():
                yield bring(collection, batch)

        yield from self.stream(work())
        yield gathering.aside()

    def add(self, documents: Iterable[Document], collection: str = "default") -> Outcome:
        """As `ingest`, to the end: how many were added, held already, or failed and why."""
        return Outcome.sum(self.ingest(documents, collection))

    def collections(self) -> list[Collection]:
        """Every collection, by name."""
        return self.send(requests.collections())

    def collection(self, name: str) -> Collection:
        """One collection."""
        return self.send(requests.collection(name))

    def make_collection(self, name: str) -> Collection:
        """Make a collection, or find it."""
        return self.send(requests.make_collection(name))

    def drop_collection(self, name: str) -> None:
        """Remove a collection and its documents."""
        self.send(requests.drop_collection(name))

    def document(self, document_id: str, collection: str = "default") -> StoredDocument:
        """One document."""
        return self.send(requests.document(collection, document_id))

    def image(self, document_id: str, collection: str = "default") -> bytes:
        """A document's image, as it was added."""
        return self.send(requests.image(collection, document_id))

    def delete(self, document_id: str, collection: str = "default") -> None:
        """Remove a document."""
        self.send(requests.delete_document(collection, document_id))

    def limits(self) -> Limits:
        """What one call may hold, asked of the server once."""
        if self._limits is None:
            self._limits = limits_of(self.info())
        return self._limits

    def send(self, call: Call[T], patience: Patience | None = None) -> T:
        """Make a call, as often as patience allows; `patience` replaces this client's own."""
        attempts = (patience or self._configuration.patience).begin()
        while True:
            try:
                return call.read(self._once(call))
            except (ServerProblem, Unreachable) as error:
                pause = attempts.pause_after(error, repeatable=call.repeatable)
            time.sleep(pause)

    def run(self, steps: Steps[T]) -> T:
        """Carry out work of several calls."""
        try:
            call = next(steps)
            while True:
                try:
                    answer = self.send(call)
                except ServerProblem as problem:
                    call = steps.throw(problem)
                else:
                    call = steps.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    def stream(self, works: Iterable[Steps[T]]) -> Iterator[T]:
        """Carry out works, a bounded number at once; yields their results in order."""
        width = self._configuration.concurrency
        under_way: deque[Future[T]] = deque()
        with ThreadPoolExecutor(width, thread_name_prefix="solomon-client") as pool:
            try:
                for steps in works:
                    under_way.append(pool.submit(self.run, steps))
                    if len(under_way) == width:
                        yield under_way.popleft().result()
                while under_way:
                    yield under_way.popleft().result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    @contextmanager
    def open(self, method: str, path: str, **options: Any) -> Iterator[httpx.Response]:
        """An answer that is read as it comes, or to a body that is sent as it is made; never tried again."""
        try:
            with self._http.stream(method, path, **options) as response:
                if not response.is_success:
                    response.read()
                    read_reply(response)
                yield response
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise unreachable(error) from error

    def _once(self, call: Call[Any]) -> dict[str, Any] | bytes:
        try:
            response = self._http.request(call.method, call.path, json=call.body)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise unreachable(error) from error
        return read_content(response) if call.raw else read_reply(response)
