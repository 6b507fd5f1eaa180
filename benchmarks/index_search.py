"""Search on one machine: latency beside bare FAISS, recall, memory, restart and ingest, for each index kind.

    python -m benchmarks.index_search --count 50000
    python -m benchmarks.index_search --count 1000000

Each stage is a process of its own, so that memory is what that stage takes. What is timed, in one process,
for the same queries, in turn, so that all see the same machine:

    store         `FaissStore.search`: documents with ids, texts and metadata, ranked by exact cosines, as of
                  one change of a log that is written meanwhile
    neighbours    the same without the documents: row keys and exact cosines (`View.search`)
    bare FAISS    one call of `index.search` for k. Flat: an `IndexFlatIP` of the same vectors. Otherwise the
                  very index object that the store searches, with the same effort: positions, ranked by the
                  index's own scores of one byte a dimension
    re-ranking    the same with FAISS's own re-ranking of as many candidates by exact vectors
                  (`IndexRefineFlat`), which takes all vectors in memory; the store reads them from a file.
                  Flat is exact, so there it is bare FAISS again

Kinds that the store does not choose by itself at a size are named and left out, unless --every-kind: a graph
over a million vectors takes too long to build on a few cores. Files are in the operating system's cache when
a store is opened again.
"""

from __future__ import annotations

import multiprocessing
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
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
from benchmarks.reporting import Ratio, ratio_rows, resident_bytes, surroundings, write_results
from index.ann import IVF, AnnSegment
from index.collection import Collection
from index.settings import IndexSettings
from index.store import FaissStore
from index.types import NewDocument
from index.view import FLAT, View

COLLECTION = "benchmark"
K = 10
RESTART_QUERIES = 20
Search = Callable[[Vectors], Any]

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
    """Write all documents, durably, with precomputed vectors; making the vectors is not counted.

    What a write begins and does not wait for, emptying the write-ahead log, goes on while the next vectors
    are made; `index_ingest` leaves no such pause.
    """
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
    collection = store._collection(COLLECTION)
    began = time.perf_counter()
    info = collection.settled()
    built = time.perf_counter() - began
    if info.index_kind != kind:
        raise RuntimeError(f"{kind} did not reach the floor on recall; the collection is {info.index_kind}")
    view = collection._views.current
    segment = view.layout.segment
    scores: list[list[float]] = []
    searches: dict[str, Search] = {
        "store": lambda query: scores.append([hit.score for hit in store.search(COLLECTION, query, K)]),
        "neighbours": lambda query: _neighbours(collection, query),
        "bare_faiss": _bare(view),
    }
    if segment is not None:
        searches["bare_faiss_reranking"] = _reranking(segment, collection, case.queries[0])
    _latencies(case.queries[:5], searches)  # the first ones pay for what is made once
    scores.clear()
    p50 = _latencies(case.queries, searches)
    p50.setdefault("bare_faiss_reranking", p50["bare_faiss"])
    recalled = [sum(s >= least - 2e-6 for s in found) for found, least in zip(scores, truth, strict=True)]
    result = {
        "build_seconds": built,
        "recall_at_10": sum(recalled) / (K * len(recalled)),
        "recall_reported": info.recall,
        "effort": None if segment is None else [segment.effort.breadth, segment.effort.depth],
        "p50_ms": p50,
        "store_to_bare_faiss": p50["store"] / p50["bare_faiss"],
        "store_to_bare_faiss_reranking": p50["store"] / p50["bare_faiss_reranking"],
        "neighbours_to_bare_faiss_reranking": p50["neighbours"] / p50["bare_faiss_reranking"],
        "filtered": {name: _filtered(store, case.queries, given) for name, given in FILTERS.items()},
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
    for query in case.queries[:RESTART_QUERIES]:
        store.search(COLLECTION, query, K)
    taken = resident_bytes() - before
    store.close()
    return {
        "restart_seconds": seconds,
        "memory_bytes": taken,
        "memory_ratio": taken / _vector_bytes(case),
    }


def _neighbours(collection: Collection, query: Vectors) -> Any:
    with collection._log.lend() as connection:
        return collection._views.current.search(query, K, None, collection._log.reads(connection))


def _bare(view: View) -> Search:
    """A search of the same index through FAISS alone."""
    segment = view.layout.segment
    if segment is not None:
        parameters = _parameters(segment)
        return lambda query: segment.index.search(query.reshape(1, -1), K, params=parameters)
    index = faiss.IndexFlatIP(view.layout.tail.dimensions)
    for chunk in view.layout.tail.chunks(view.size):
        index.add(chunk)
    return lambda query: index.search(query.reshape(1, -1), K)


def _reranking(segment: AnnSegment, collection: Collection, query: Vectors) -> Search:
    """The same, with as many candidates as the store looks at, ranked by FAISS from exact vectors."""
    exact = faiss.IndexFlatIP(segment.index.d)
    for _, vectors in collection._log.vectors_after(0):  # nothing was deleted: in the index's order
        exact.add(vectors)
    index = faiss.IndexRefine(segment.index, exact)
    candidates = len(segment.candidates(query, K, None, len(segment.rows))[0])
    parameters = faiss.IndexRefineSearchParameters(
        k_factor=candidates / K, base_index_params=_parameters(segment)
    )
    return lambda query: index.search(query.reshape(1, -1), K, params=parameters)


def _parameters(segment: AnnSegment) -> Any:
    if segment.kind == IVF:
        return faiss.SearchParametersIVF(nprobe=segment.effort.breadth)
    return faiss.SearchParametersHNSW(efSearch=segment.effort.breadth)


def _latencies(queries: Vectors, searches: dict[str, Search]) -> dict[str, float]:
    """The median of each in milliseconds; they take turns, at being first too: it warms the caches."""
    taken: dict[str, list[float]] = {name: [] for name in searches}
    for number, query in enumerate(queries):
        turn = number % len(searches)
        for name, search in [*searches.items()][turn:] + [*searches.items()][:turn]:
            began = time.perf_counter()
            search(query)
            taken[name].append(1000 * (time.perf_counter() - began))
    return {name: statistics.median(times) for name, times in taken.items()}


def _filtered(store: FaissStore, queries: Vectors, given: dict[str, Any]) -> dict[str, float]:
    began = time.perf_counter()
    store.search(COLLECTION, queries[0], K, given)
    first = 1000 * (time.perf_counter() - began)
    p50 = _latencies(queries[:50], {"filtered": lambda query: store.search(COLLECTION, query, K, given)})
    return {"first_ms": first, "p50_ms": p50["filtered"]}


def _vector_bytes(case: Case) -> int:
    return 4 * case.source.dimensions * case.source.count


def _ratios(ingested: dict[str, Any], kinds: dict[str, Any]) -> list[Ratio]:
    """What the index promises at a million vectors on two cores."""
    ratios = [Ratio("documents written a second, durably", ingested["documents_per_second"], (">=", 20_000))]
    for kind, found in kinds.items():
        ratios += [
            Ratio(f"{kind}: search p50, store / bare FAISS", found["store_to_bare_faiss"], ("<=", 1.15)),
            Ratio(f"{kind}: the same, FAISS re-ranking too", found["store_to_bare_faiss_reranking"]),
            Ratio(f"{kind}: recall@10", found["recall_at_10"], (">=", 0.95)),
            Ratio(f"{kind}: seconds to restart from the snapshot", found["restart_seconds"], ("<=", 10)),
            Ratio(
                f"{kind}: memory / the vectors' own",
                found["memory_ratio"],
                ("<=", 1.3) if kind == FLAT else None,
            ),
        ]
    return ratios


def _alone(stage: Callable[..., Any], *arguments: Any) -> Any:
    """Run a stage in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(stage, *arguments).result()


def _table(count: int, dimensions: int, kinds: dict[str, Any]) -> Table:
    table = Table(title=f"{count:,} vectors of {dimensions} dimensions")
    for heading in ("", *kinds):
        table.add_column(heading, justify="left" if not heading else "right")
    rows: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
        ("store p50, ms", lambda kind: f"{kind['p50_ms']['store']:.3f}"),
        ("neighbours alone p50, ms", lambda kind: f"{kind['p50_ms']['neighbours']:.3f}"),
        ("bare FAISS p50, ms", lambda kind: f"{kind['p50_ms']['bare_faiss']:.3f}"),
        ("bare FAISS, re-ranking, p50, ms", lambda kind: f"{kind['p50_ms']['bare_faiss_reranking']:.3f}"),
        ("store to bare FAISS", lambda kind: f"{kind['store_to_bare_faiss']:.2f}"),
        ("store to re-ranking", lambda kind: f"{kind['store_to_bare_faiss_reranking']:.2f}"),
        ("neighbours to re-ranking", lambda kind: f"{kind['neighbours_to_bare_faiss_reranking']:.2f}"),
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
    every_kind: Annotated[bool, typer.Option(help="Also kinds that the store would not choose.")] = False,
) -> None:
    """Measure search on one machine and write benchmarks/results/index_search-COUNT.json."""
    console = Console()
    wanted = kinds.split(",")
    chosen = (FLAT, *IndexSettings(flat_threshold=1).kinds(count))
    left_out = [] if every_kind else [kind for kind in wanted if kind not in chosen]
    for kind in left_out:
        console.print(f"{kind} is left out: the store does not choose it for {count:,} documents")
    began = time.perf_counter()
    source = ClusteredVectors(count, dimensions)
    place = Path(tempfile.mkdtemp(prefix="solomon-benchmark-", dir=folder))
    case = Case(place, source, source.queries(queries), batch)
    try:
        console.print("writing documents …")
        ingested = _alone(ingest, case)
        console.print(f"{ingested['documents_per_second']:,.0f} documents/s, durably; exact neighbours …")
        truth = _alone(exact_scores, case)
        measured: dict[str, Any] = {}
        for kind in wanted:
            if kind in left_out:
                continue
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
        "left_out": left_out,
        "kinds": measured,
        "ratios": ratio_rows(_ratios(ingested, measured)),
        "seconds": round(time.perf_counter() - began),
    }
    console.print(f"written to {write_results(f'index_search-{count}', results)}")


if __name__ == "__main__":
    typer.run(main)
