"""A query (or a vector) to its neighbours in a collection."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import anyio
import anyio.to_thread
import numpy as np
from opentelemetry.trace import Tracer

from index.filters import parse_filter
from index.types import Hit, InvalidInput, UnknownCollection, VectorStore
from model.types import Embedder, Embedding, EmbedOptions, Vector
from service.embedding import EmbeddingService, RequestItem
from service.mapping import store_problem
from service.metrics import Metrics
from service.problems import Problem
from service.tracing import NO_TRACING, traced
from service.vector_space import check_same_space, vector_space


@dataclass(frozen=True, slots=True)
class SearchQuestion:
    """What to look for (`item`, or `vector` [D] as it is) and where."""

    collection: str
    k: int
    filter: Mapping[str, Any] | None
    item: RequestItem | None = None
    vector: Sequence[float] | None = None


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """The neighbours, the query's embedding if it was made here, and the stages' seconds."""

    hits: Sequence[Hit]
    embedding: Embedding | None
    embed_seconds: float
    index_seconds: float
    total_seconds: float


class SearchService:
    """Embeds queries and searches the store."""

    def __init__(
        self,
        embedder: Embedder,
        embedding: EmbeddingService,
        store: VectorStore,
        metrics: Metrics,
        store_threads: anyio.CapacityLimiter,
        tracer: Tracer = NO_TRACING.tracer,
    ) -> None:
        self._tracer = tracer
        self._embedder = embedder
        self._embedding = embedding
        self._store = store
        self._metrics = metrics
        self._store_threads = store_threads

    async def search(self, question: SearchQuestion, options: EmbedOptions, deadline: float) -> SearchAnswer:
        """Answer a question.

        Raises what `EmbeddingService.embed` and `VectorStore.search` raise, and a `Problem` for a
        collection of another model.
        """
        started = time.perf_counter()
        # The collection and the filter come first: a search that cannot be answered costs the model nothing.
        await self._check(question)
        checked = time.perf_counter()
        embedding = await self._embed(question, options, deadline)
        embedded = time.perf_counter()
        vector = embedding.vector if embedding is not None else _as_vector(question.vector)
        with traced(self._tracer, "index"):
            hits = await anyio.to_thread.run_sync(
                self._store.search,
                question.collection,
                vector,
                question.k,
                question.filter,
                vector_space(self._embedder.info) if embedding is not None else None,
                limiter=self._store_threads,
            )
        ended = time.perf_counter()
        answer = SearchAnswer(
            hits=hits,
            embedding=embedding,
            embed_seconds=embedded - checked if embedding is not None else 0.0,
            index_seconds=ended - embedded,
            total_seconds=ended - started,
        )
        route = embedding.route if embedding is not None else None
        self._metrics.on_search(route, answer.embed_seconds, answer.index_seconds, answer.total_seconds)
        return answer

    async def _check(self, question: SearchQuestion) -> None:
        try:
            space = await anyio.to_thread.run_sync(
                self._store.space, question.collection, limiter=self._store_threads
            )
        except (InvalidInput, UnknownCollection) as error:  # of the name, which is "collection" in this call
            problem = store_problem(error)
            faults = [replace(fault, field="collection") for fault in problem.errors]
            raise Problem(problem.kind, problem.detail, faults) from None
        if question.filter is not None:
            parse_filter(question.filter)
        if question.item is not None:
            check_same_space(space, self._embedder.info, "collection")

    async def _embed(
        self, question: SearchQuestion, options: EmbedOptions, deadline: float
    ) -> Embedding | None:
        if question.item is None:
            return None
        return (await self._embedding.embed([question.item], options, deadline))[0]


def _as_vector(numbers: Sequence[float] | None) -> Vector:
    with np.errstate(over="ignore"):  # the index refuses infinities, and names the field
        return np.asarray(numbers, dtype=np.float32)
