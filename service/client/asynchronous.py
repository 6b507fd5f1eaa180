"""`AsyncSolomon`: the client for asyncio."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
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
from service.client.batches import Gathering, item_batcher
from service.client.bringing import bring
from service.client.calls import Call, Steps, one
from service.client.configuration import Configuration
from service.client.content import Document, Item, ItemBody, PreparedDocument, prepare
from service.client.errors import ServerProblem, Unreachable
from service.client.outcomes import Outcome
from service.client.patience import Patience
from service.client.replies import read_content, read_reply, unreachable
from service.client.requests import InputType, Route, Routing

T = TypeVar("T")


class AsyncSolomon:
    """`Solomon` for asyncio: the same methods, to be awaited. Use it in an `async with`."""

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        patience: Patience | None = None,
        timeout: float = 660.0,
        concurrency: int = 4,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """See `Configuration` for the options; `transport` replaces the network."""
        self._configuration = Configuration.given(url, api_key, patience, timeout, concurrency)
        self._limits: Limits | None = None
        self._http = httpx.AsyncClient(
            base_url=self._configuration.url,
            headers=self._configuration.headers,
            timeout=self._configuration.timeouts,
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def info(self) -> ServerInfo:
        """What is served: model, dimensions, threshold, limits."""
        return await self.send(requests.info())

    async def embed(
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
        limits = await self.limits()

        def embed(batch: list[ItemBody]) -> Steps[Embeddings]:
            return one(requests.embed(batch, input_type, routing, dimensions, truncate))

        async def works() -> AsyncIterator[Steps[Embeddings]]:
            gathered = item_batcher(limits)
            for item in given:
                # Images are read and encoded in a thread, so that a slow disk does not hold up the loop.
                body = item if isinstance(item, str) else await asyncio.to_thread(item.body)
                if batch := gathered.add(body):
                    yield embed(batch)
            if batch := gathered.close():
                yield embed(batch)

        return Embeddings.joined([part async for part in self.stream(works())])

    async def search(
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
        # In a thread, because the query's image may have to be read.
        call = await asyncio.to_thread(requests.search, query, vector, collection, k, filter, routing)
        return await self.send(call)

    async def ingest(
        self, documents: Iterable[Document] | AsyncIterable[Document], collection: str = "default"
    ) -> AsyncIterator[Outcome]:
        """As `Solomon.ingest`; the documents may come from an asynchronous iterator."""
        await self.make_collection(collection)
        gathering: Gathering[PreparedDocument] = Gathering(await self.limits())

        async def works() -> AsyncIterator[Steps[Outcome]]:
            position = 0
            async for document in _asynchronous(documents):
                # Files are read in a thread, so that a slow disk does not hold up the loop.
                prepared = await asyncio.to_thread(prepare, document, position)
                position += 1
                if batch := gathering.add(prepared):
                    yield bring(collection, batch)
            if batch := gathering.close():
                yield bring(collection, batch)

        async for outcome in self.stream(works()):
            yield outcome
        yield gathering.aside()

    async def add(
        self, documents: Iterable[Document] | AsyncIterable[Document], collection: str = "default"
    ) -> Outcome:
        """As `ingest`, to the end: how many were added, held already, or failed and why."""
        return Outcome.sum([outcome async for outcome in self.ingest(documents, collection)])

    async def collections(self) -> list[Collection]:
        """Every collection, by name."""
        return await self.send(requests.collections())

    async def collection(self, name: str) -> Collection:
        """One collection."""
        return await self.send(requests.collection(name))

    async def make_collection(self, name: str) -> Collection:
        """Make a collection, or find it."""
        return await self.send(requests.make_collection(name))

    async def drop_collection(self, name: str) -> None:
        """Remove a collection and its documents."""
        await self.send(requests.drop_collection(name))

    async def document(self, document_id: str, collection: str = "default") -> StoredDocument:
        """One document."""
        return await self.send(requests.document(collection, document_id))

    async def image(self, document_id: str, collection: str = "default") -> bytes:
        """A document's image, as it was added."""
        return await self.send(requests.image(collection, document_id))

    async def delete(self, document_id: str, collection: str = "default") -> None:
        """Remove a document."""
        await self.send(requests.delete_document(collection, document_id))

    async def limits(self) -> Limits:
        """What one call may hold, asked of the server once."""
        if self._limits is None:
            self._limits = limits_of(await self.info())
        return self._limits

    async def send(self, call: Call[T], patience: Patience | None = None) -> T:
        """Make a call, as often as patience allows; `patience` replaces this client's own."""
        attempts = (patience or self._configuration.patience).begin()
        while True:
            try:
                return call.read(await self._once(call))
            except (ServerProblem, Unreachable) as error:
                pause = attempts.pause_after(error, repeatable=call.repeatable)
            await asyncio.sleep(pause)

    async def run(self, steps: Steps[T]) -> T:
        """Carry out work of several calls."""
        try:
            call = next(steps)
            while True:
                try:
                    answer = await self.send(call)
                except ServerProblem as problem:
                    call = steps.throw(problem)
                else:
                    call = steps.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    async def stream(self, works: AsyncIterable[Steps[T]]) -> AsyncIterator[T]:
        """Carry out works, a bounded number at once; yields their results in order."""
        width = self._configuration.concurrency
        under_way: deque[asyncio.Task[T]] = deque()
        try:
            async for steps in works:
                under_way.append(asyncio.create_task(self.run(steps)))
                if len(under_way) == width:
                    yield await under_way.popleft()
            while under_way:
                yield await under_way.popleft()
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _once(self, call: Call[Any]) -> dict[str, Any] | bytes:
        try:
            response = await self._http.request(call.method, call.path, json=call.body)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise unreachable(error) from error
        return read_content(response) if call.raw else read_reply(response)


async def _asynchronous(documents: Iterable[Document] | AsyncIterable[Document]) -> AsyncIterator[Document]:
    if isinstance(documents, AsyncIterable):
        async for document in documents:
            yield document
    else:
        for document in documents:
            yield document
