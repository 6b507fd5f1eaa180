"""What an operator can see: what routing saves against augmenting everything, and what it costs.

Every application has its own registry. `solomon_augment_seconds_saved_total` grows with each query that
the model itself routed to /embed, by what augmenting costs at that moment: the moving mean of the time
that augmented queries took after the single pass (forced ones are evidence too).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from index.types import UNUSABLE, CollectionInfo
from model.types import Embedding, InputType, Route
from service.problems import CATALOGUE

_LATENCY_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 20, 40, 60)
_INDEX_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, *_LATENCY_BUCKETS[2:])
_WAIT_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_CONFIDENCE_BUCKETS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 1.0)
_TOKEN_BUCKETS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 256)
_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
_EXEMPLAR_NAMES = ("request_id", "trace_id")  # together below the 128 characters that OpenMetrics allows

VECTOR_ROUTE = "none"  # a search by vector takes no route
FORCED = "forced"
AUTO = "auto"


def exemplar() -> dict[str, str] | None:
    """What leads from a bucket to the log line (and trace) of the call that is being served, if one is."""
    bound = structlog.contextvars.get_contextvars()
    return {name: bound[name] for name in _EXEMPLAR_NAMES if name in bound} or None


class CutReason(StrEnum):
    """Why a connection was cut off."""

    TOO_MANY = "too-many"  # there were as many open as there may be
    LATE_HEAD = "late-head"  # a request's head took too long
    ENDLESS_HEAD = "endless-head"  # a head, a trailer or a chunk's extension without an end
    STALLED = "stalled"  # the client takes nothing of its answer


class MovingMean:
    """Exponentially weighted mean: each value counts `weight`, what came before the rest."""

    def __init__(self, weight: float = 0.05) -> None:
        if not 0 < weight <= 1:
            raise ValueError("weight must be in (0, 1].")
        self._weight = weight
        self.value: float | None = None

    def add(self, value: float) -> None:
        """Take a value in; the first one is the mean."""
        self.value = value if self.value is None else self.value + self._weight * (value - self.value)


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """The file system with the collections: its size, and what of it is free."""

    size: int
    free: int


class Reader(Protocol):
    """What is read at the moment of a scrape."""

    def queue_depth(self) -> int:
        """Items waiting for the model."""

    def collections(self) -> Iterable[CollectionInfo] | None:
        """Every collection and its count; None where the store does not answer, or not in time."""

    def disk(self) -> DiskSpace | None:
        """The collections' disk; None where they are not on one of this machine."""


class _Collections(Collector):
    """What there is to tell of each collection, asked of the store at scrape time."""

    def __init__(self, read: Callable[[], Iterable[CollectionInfo] | None]) -> None:
        self._read = read

    def describe(self) -> list[GaugeMetricFamily]:
        """The metrics without values, so that registering them does not read the store."""
        return [
            _gauge("solomon_collection_documents", "Documents of a collection."),
            _gauge(
                "solomon_index_recall",
                "Recall@10 of a collection's index against exact search, as last measured; flat is 1.",
            ),
            _gauge(
                "solomon_collection_damaged",
                "1 where a collection cannot be served, or damage to it was met and is not mended yet.",
            ),
            _gauge("solomon_collection_unusable", "1 where a collection cannot be served."),
            _gauge(
                "solomon_collection_lost_documents",
                "Documents that damage has cost a collection and that were not added again since.",
            ),
            GaugeMetricFamily("solomon_store_up", "1 where the store answered this scrape."),
        ]

    def collect(self) -> list[GaugeMetricFamily]:
        """One sample a collection; of recall, where it is known."""
        families = documents, recall, damaged, unusable, lost, store_up = self.describe()
        found = self._read()
        store_up.add_metric([], found is not None)
        for info in found or ():
            documents.add_metric([info.name], info.count)
            damaged.add_metric([info.name], info.damage is not None)
            unusable.add_metric([info.name], info.index_kind == UNUSABLE)
            lost.add_metric([info.name], info.lost)
            if info.recall is not None:
                recall.add_metric([info.name], info.recall)
        return list(families)


class _Disk(Collector):
    """The collections' disk, where they are on one."""

    def __init__(self, read: Callable[[], DiskSpace | None]) -> None:
        self._read = read

    def describe(self) -> list[GaugeMetricFamily]:
        """The metrics without values."""
        return [
            GaugeMetricFamily("solomon_data_free_bytes", "Free bytes of the disk with the collections."),
            GaugeMetricFamily("solomon_data_size_bytes", "Size of the disk with the collections."),
        ]

    def collect(self) -> list[GaugeMetricFamily]:
        """Both figures, or none."""
        families = free, size = self.describe()
        found = self._read()
        if found is not None:
            free.add_metric([], found.free)
            size.add_metric([], found.size)
        return list(families)


def _gauge(name: str, documentation: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, labels=["collection"])


class Metrics:
    """The metrics of one application; also the engine's observer."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self.embed_latency = Histogram(
            "solomon_embed_latency_seconds",
            "From taking an item to its vector. Documents are never routed: embed, forced.",
            ["input_type", "route", "decision"],
            buckets=_LATENCY_BUCKETS,
            registry=registry,
        )
        self.search_latency = Histogram(
            "solomon_search_latency_seconds",
            "Stages of a search: embed, index, total. Route is none for a search by vector.",
            ["stage", "route"],
            buckets=_INDEX_BUCKETS,
            registry=registry,
        )
        self.routes = Counter(
            "solomon_route_total",
            "Queries by route and by who decided.",
            ["route", "decision"],
            registry=registry,
        )
        self.confidence = Histogram(
            "solomon_route_confidence",
            "Probability of the route that the model chose itself.",
            buckets=_CONFIDENCE_BUCKETS,
            registry=registry,
        )
        self.augment_tokens = Histogram(
            "solomon_augment_tokens",
            "Tokens written for an augmented query.",
            buckets=_TOKEN_BUCKETS,
            registry=registry,
        )
        self.seconds_saved = Counter(
            "solomon_augment_seconds_saved_total",
            "Seconds that routing to /embed saved, at the moving cost of writing an answer.",
            registry=registry,
        )
        self.queue_depth = Gauge("solomon_queue_depth", "Items waiting for the model.", registry=registry)
        self.queue_wait = Histogram(
            "solomon_queue_wait_seconds",
            "From an item's arrival in the queue to its prefill.",
            buckets=_WAIT_BUCKETS,
            registry=registry,
        )
        self.batch_size = Histogram(
            "solomon_batch_size",
            "Sequences in one forward pass.",
            ["phase"],
            buckets=_BATCH_BUCKETS,
            registry=registry,
        )
        self.rejected = Counter(
            "solomon_rejected_total", "Calls refused, by the problem's kind.", ["reason"], registry=registry
        )
        for slug in CATALOGUE:  # from zero on, so that the first of a kind is an increase
            self.rejected.labels(slug)
        self.key_file_broken = Gauge(
            "solomon_key_file_broken",
            "1 while the file of API keys cannot be read, and the keys that it held before are heeded.",
            registry=registry,
        )
        self.http_requests = Counter(
            "solomon_http_requests_total",
            "Calls by the template of their path and by status; 499: the client went away.",
            ["path", "status"],
            registry=registry,
        )
        self.http_latency = Histogram(
            "solomon_http_request_seconds",
            "From a call's first byte to the end of its answer; of calls that were not refused (4xx).",
            ["path"],
            buckets=_INDEX_BUCKETS,
            registry=registry,
        )
        self.in_flight = Gauge(
            "solomon_requests_in_flight", "Calls that are being answered, health aside.", registry=registry
        )
        self.connections = Gauge("solomon_connections", "Open connections.", registry=registry)
        self.connections_cut = Counter(
            "solomon_connections_cut_total",
            "Connections that the server cut off, by reason.",
            ["reason"],
            registry=registry,
        )
        for reason in CutReason:
            self.connections_cut.labels(reason)
        self.engine_seconds = Counter(
            "solomon_engine_seconds_total",
            "Seconds of the model's forward passes; their rate is how busy the model is, 1 at most.",
            ["phase"],
            registry=registry,
        )
        self.tokens = Counter(
            "solomon_tokens_total",
            "Tokens read (prompt, image tokens among them) and written (augment).",
            ["kind"],
            registry=registry,
        )
        self.queue_limit = Gauge(
            "solomon_queue_limit",
            "Items that may wait; beyond it calls get 429.",
            registry=registry,
        )
        self.ready = Gauge("solomon_ready", "1 while /readyz says yes.", registry=registry)
        self.build = Gauge(
            "solomon_build_info",
            "1, with what is served.",
            ["version", "model", "checkpoint", "device", "dtype", "decoding"],
            registry=registry,
        )
        ProcessCollector(registry=registry)
        self._lock = threading.Lock()
        self._augment_seconds = MovingMean()

    # What the engine's thread reports (model.types.EngineObserver).

    def on_step(self, phase: str, batch_size: int, seconds: float) -> None:
        """One forward pass ended; `phase` is prefill or decode."""
        self.batch_size.labels(phase).observe(batch_size)
        self.engine_seconds.labels(phase).inc(seconds)

    def on_admitted(self, queue_seconds: float) -> None:
        """A request left the queue."""
        self.queue_wait.observe(queue_seconds)

    # What the service reports.

    def on_embedding(self, embedding: Embedding, input_type: InputType, seconds: float) -> None:
        """An item is finished, `seconds` after it was taken."""
        route = embedding.route or Route.EMBED
        decision = embedding.decision or FORCED
        latency = self.embed_latency.labels(input_type.value, route.value, decision)
        latency.observe(seconds, exemplar())
        computed = embedding.compute_seconds > 0  # and not remembered, which costs and saves nothing
        if computed:
            self.tokens.labels("prompt").inc(embedding.prompt_tokens)
            self.tokens.labels("image").inc(embedding.image_tokens)
            self.tokens.labels("augment").inc(embedding.augment_tokens)
        if embedding.route is None:
            return
        self.routes.labels(route.value, decision).inc()
        if decision == AUTO and embedding.confidence is not None:
            self.confidence.observe(embedding.confidence)
        if route is Route.AUGMENT:
            self.augment_tokens.observe(embedding.augment_tokens)
        if computed:
            self._count_saving(route, decision, embedding.augment_seconds)

    def on_search(self, route: Route | None, embed: float, index: float, total: float) -> None:
        """A search is answered; its stages in seconds."""
        label = VECTOR_ROUTE if route is None else route.value
        for stage, seconds in (("embed", embed), ("index", index), ("total", total)):
            if stage != "embed" or route is not None:
                self.search_latency.labels(stage, label).observe(seconds, exemplar())

    def on_rejected(self, reason: str) -> None:
        """A call was refused; `reason` is the problem's slug."""
        self.rejected.labels(reason).inc()

    def on_connection(self, change: int) -> None:
        """A connection was opened (1) or has ended (-1)."""
        self.connections.inc(change)

    def on_connection_cut(self, reason: CutReason) -> None:
        """A connection was cut off."""
        self.connections_cut.labels(reason).inc()

    def on_call(self, path: str, status: int, seconds: float) -> None:
        """A call ended; `path` is its template."""
        self.http_requests.labels(path, str(status)).inc()
        if not 400 <= status < 500:  # refusals take no time, and there are most of them when calls take long
            self.http_latency.labels(path).observe(seconds, exemplar())

    def read_at_scrape(self, reader: Reader) -> None:
        """Bind what is read at scrape time; called once, when the engine and the store are open."""
        self.queue_depth.set_function(reader.queue_depth)
        self.registry.register(_Collections(reader.collections))
        self.registry.register(_Disk(reader.disk))

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """What Prometheus scrapes, and its content type; exemplars are in OpenMetrics only."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def _count_saving(self, route: Route, decision: str, seconds: float) -> None:
        with self._lock:
            if route is Route.AUGMENT:
                self._augment_seconds.add(seconds)
            cost = self._augment_seconds.value
        if route is Route.EMBED and decision == AUTO and cost is not None:
            self.seconds_saved.inc(cost)
