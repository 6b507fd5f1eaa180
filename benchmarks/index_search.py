"""Search on one machine: latency beside bare FAISS, recall, memory, restart and ingest, for each index kind.

    python -m benchmarks.index_search --count 50000
    python -m benchmarks.index_search --count 1000000 --kinds flat,ivf

Each stage is a process of its own, so that memory is what that stage takes. "Bare FAISS" is the same index,
searched in the same process, in turn with the store, with the same effort, for the same k: for flat an
`IndexFlatIP` of the same vectors, else the very index object. It neither re-ranks from exact vectors, nor
returns documents, nor sees writes. Files are in the operating system's cache when a store is opened again.
"""

from __future__ import annotations

import multiprocessing
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import faiss
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.clustered_vectors import BLOCK, ClusteredVectors, Vectors
from benchmarks.reporting import resident_bytes, surroundings, write_results
from index.ann import IVF
from index.settings import IndexSettings
from index.store import FaissStore
from index.types import NewDocument
from index.view import FLAT, View

COLLECTION = "benchmark"
K = 10
FILTERS = {"1 in 1000": {"thousandth": 7}, "1 in 10": {"tenth": 3}, "9 in 10": {"tenth": {"ne": 3}}}


@dataclass(frozen=True)
class Case:
    """What all stages of a run share."""

    folder: Path
    source: ClusteredVectors
    queries: Vectors
    batch: int

    def open(self, kind: str) -> FaissStore:
        """The store, with every collection of this kind."""
        return FaissStore(self.folder, index=IndexSettings(kind=kind))  # type: ignore[arg-type]


def ingest(case: Case) -> dict[str, Any]:
    """Write all documents, durably, with precomputed vectors; making the vectors is not counted."""
    before = resident_bytes()
    store = case.open(FLAT)
    store.create(COLLECTION, case.source.dimensions, "benchmark")
    seconds, number = 0.0, 0
    for block in case.source.blocks():
        for start in range(0, len(block), case.batch):
            documents = [
                NewDocument(
                    f"document-{number + at:08}",
                    vector,
                    f"The text of document {number + at}.",
                    None,
                    {"tenth": (number + at) % 10, "thousandth": (number + at) % 1000},
                )
                for at, vector in enumerate(block[start : start + case.batch])
            ]
            began = time.perf_counter()
            store.upsert(COLLECTION, documents)
            seconds += time.perf_counter() - began
            number += len(documents)
    peak = resident_bytes(peak=True) - before
    began = time.perf_counter()
    store.close()
    return {
        "documents_per_second": case.source.count / seconds,
        "peak_memory_ratio": peak / _vector_bytes(case),
        "close_seconds": time.perf_counter() - began,
    }


def exact_scores(case: Case) -> Vectors:
    """The score of each query's k-th nearest, [Q]."""
    best = np.full((len(case.queries), K), -np.inf, np.float32)
    for block in case.source.blocks():
        joined = np.concatenate([best, case.queries @ block.T], axis=1)
        best = np.partition(joined, joined.shape[1] - K, axis=1)[:, -K:]
    return np.asarray(best.min(axis=1))


def build_and_search(case: Case, kind: str, truth: Vectors) -> dict[str, Any]:
    """Open as a kind, wait until it is that, and measure it."""
    store = case.open(kind)
    began = time.perf_counter()
    info = store._collection(COLLECTION).settled()
    built = time.perf_counter() - began
    if info.index_kind != kind:
        raise RuntimeError(f"{kind} did not reach the floor on recall; the collection is {info.index_kind}")
    view = store._collection(COLLECTION)._views.current
    hits = [store.search(COLLECTION, query, K) for query in case.queries]
    found = [
        sum(hit.score >= least - 2e-6 for hit in hit_list)
        for hit_list, least in zip(hits, truth, strict=True)
    ]
    searching = _latencies(case.queries, [lambda query: store.search(COLLECTION, query, K), _bare(view)])
    filtered = {name: _filtered(store, case.queries, given) for name, given in FILTERS.items()}
    segment = view.layout.segment
    result = {
        "build_seconds": built,
        "recall_at_10": sum(found) / (K * len(found)),
        "recall_reported": info.recall,
        "effort": None if segment is None else [segment.effort.breadth, segment.effort.depth],
        "search_p50_ms": searching[0],
        "bare_faiss_p50_ms": searching[1],
        "ratio_to_bare_faiss": searching[0] / searching[1],
        "above_bare_faiss_ms": searching[0] - searching[1],
        "filtered": filtered,
    }
    store.close()
    return result


def restart(case: Case, kind: str) -> dict[str, Any]:
    """Open from the snapshot until the first search is answered, and what memory that takes."""
    before = resident_bytes()
    began = time.perf_counter()
    store = case.open(kind)
    store.search(COLLECTION, case.queries[0], K)
    seconds = time.perf_counter() - began
    if store.get(COLLECTION).index_kind != kind:
        raise RuntimeError(f"the snapshot of {kind} was not used")
    for query in case.queries:
        store.search(COLLECTION, query, K)
    taken = resident_bytes() - before
    store.close()
    return {
        "restart_seconds": seconds,
        "memory_bytes": taken,
        "memory_ratio": taken / _vector_bytes(case),
    }


def _bare(view: View) -> Callable[[Vectors], Any]:
    """A search of the same index through FAISS alone."""
    segment = view.layout.segment
    if segment is None:
        index = faiss.IndexFlatIP(view.layout.tail.dimensions)
        for chunk in view.layout.tail.chunks(view.size):
            index.add(chunk)
        return lambda query: index.search(query.reshape(1, -1), K)
    breadth = segment.effort.breadth
    if segment.kind == IVF:
        parameters = faiss.SearchParametersIVF(nprobe=breadth)
    else:
        parameters = faiss.SearchParametersHNSW(efSearch=breadth)
    return lambda query: segment.index.search(query.reshape(1, -1), K, params=parameters)


def _latencies(queries: Vectors, searches: Sequence[Callable[[Vectors], Any]]) -> list[float]:
    """The median of each in milliseconds; they take turns, so that both see the same machine."""
    taken: list[list[float]] = [[] for _ in searches]
    for query in queries:
        for search, times in zip(searches, taken, strict=True):
            began = time.perf_counter()
            search(query)
            times.append(1000 * (time.perf_counter() - began))
    return [statistics.median(times) for times in taken]


def _filtered(store: FaissStore, queries: Vectors, given: dict[str, Any]) -> dict[str, float]:
    began = time.perf_counter()
    store.search(COLLECTION, queries[0], K, given)
    first = 1000 * (time.perf_counter() - began)
    [median] = _latencies(queries[:50], [lambda query: store.search(COLLECTION, query, K, given)])
    return {"first_ms": first, "p50_ms": median}


def _vector_bytes(case: Case) -> int:
    return 4 * case.source.dimensions * case.source.count


def _alone(stage: Callable[..., Any], *arguments: Any) -> Any:
    """Run a stage in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(stage, *arguments).result()


def _table(count: int, dimensions: int, kinds: dict[str, Any]) -> Table:
    table = Table(title=f"{count:,} vectors of {dimensions} dimensions")
    for heading in ("", *kinds):
        table.add_column(heading, justify="left" if not heading else "right")
    rows: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
        ("search p50, ms", lambda kind: f"{kind['search_p50_ms']:.2f}"),
        ("bare FAISS p50, ms", lambda kind: f"{kind['bare_faiss_p50_ms']:.2f}"),
        ("ratio", lambda kind: f"{kind['ratio_to_bare_faiss']:.2f}"),
        ("recall@10", lambda kind: f"{kind['recall_at_10']:.3f}"),
        *[
            (
                f"filter {name} p50 (first), ms",
                lambda kind, name=name: "{p50_ms:.2f} ({first_ms:.0f})".format(**kind["filtered"][name]),
            )
            for name in FILTERS
        ],
        ("build, s", lambda kind: f"{kind['build_seconds']:.1f}"),
        ("restart, s", lambda kind: f"{kind['restart_seconds']:.2f}"),
        ("memory / vectors", lambda kind: f"{kind['memory_ratio']:.2f}"),
    ]
    for heading, cell in rows:
        table.add_row(heading, *(cell(kind) for kind in kinds.values()))
    return table


def main(
    count: Annotated[int, typer.Option(help="Vectors.")] = 50_000,
    dimensions: Annotated[int, typer.Option(help="Their length.")] = 576,
    kinds: Annotated[str, typer.Option(help="Index kinds, comma-separated.")] = "flat,ivf,hnsw",
    queries: Annotated[int, typer.Option(help="Queries, near-duplicates of stored vectors.")] = 200,
    batch: Annotated[int, typer.Option(help="Documents of one write.")] = BLOCK,
    folder: Annotated[Path | None, typer.Option(help="Where to put the data; removed at the end.")] = None,
) -> None:
    """Measure search on one machine and write benchmarks/results/index_search-COUNT.json."""
    console = Console()
    source = ClusteredVectors(count, dimensions)
    place = Path(tempfile.mkdtemp(prefix="solomon-benchmark-", dir=folder))
    case = Case(place, source, source.queries(queries), batch)
    try:
        console.print("writing documents …")
        ingested = _alone(ingest, case)
        console.print(f"{ingested['documents_per_second']:,.0f} documents/s, durably; exact neighbours …")
        truth = _alone(exact_scores, case)
        measured: dict[str, Any] = {}
        for kind in kinds.split(","):
            console.print(f"{kind} …")
            measured[kind] = _alone(build_and_search, case, kind, truth) | _alone(restart, case, kind)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    console.print(_table(count, dimensions, measured))
    results = {
        "surroundings": surroundings(("faiss-cpu", "numpy")),
        "count": count,
        "dimensions": dimensions,
        "queries": queries,
        "batch": batch,
        "ingest": ingested,
        "kinds": measured,
    }
    console.print(f"written to {write_results(f'index_search-{count}', results)}")


if __name__ == "__main__":
    typer.run(main)
