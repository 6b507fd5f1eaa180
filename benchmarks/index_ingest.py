"""Durable ingest of precomputed vectors on one machine, beside writing the same bytes to the same disk.

    python -m benchmarks.index_ingest --count 100000
    python -m benchmarks.index_ingest --count 100000 --folder /mnt/disk --batches 1000,10000

For each batch size, in one run: `raw` appends each batch's vectors to a file and syncs it, which is the least
that durability can cost; `new` writes them as documents with text and metadata through
`FaissStore.upsert`, each call on disk and searchable when it returns; `again` writes the same ids once more,
so that every document is replaced. Making the vectors is not counted. CPU seconds are this process's: where
they are far below the wall's, the disk or other processes were waited for. `written` is what the kernel
counted for this process (Linux, not on tmpfs): a document goes to the write-ahead log, and later from there
to the database.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.clustered_vectors import ClusteredVectors, Vectors
from benchmarks.reporting import surroundings, write_results
from index.store import FaissStore
from index.types import NewDocument

COLLECTION = "benchmark"
PACKAGES = ("faiss-cpu", "numpy")


def write_raw(path: Path, batches: Sequence[Vectors]) -> None:
    """Append each batch's bytes to a file, synced one by one."""
    with open(path, "wb", buffering=0) as file:
        for batch in batches:
            file.write(batch.tobytes())
            os.fsync(file.fileno())


def documents_of(batch: Vectors, first: int) -> list[NewDocument]:
    """Documents as bulk ingest makes them: a path for an id, a caption, a few metadata."""
    return [
        NewDocument(
            f"photos/{number // 1000:05d}/{number:09d}.jpg",
            vector,
            f"a photo with the number {number}",
            metadata={"year": 1980 + number % 45, "kind": "photo"},
        )
        for number, vector in enumerate(batch, first)
    ]


def measured(count: int, work: Callable[[], None]) -> dict[str, Any]:
    """Rate of a piece of work over `count` documents, and what it took."""
    wall, cpu, written = time.perf_counter(), time.process_time(), _written_bytes()
    work()
    seconds = time.perf_counter() - wall
    after = _written_bytes()
    return {
        "documents_per_second": round(count / seconds),
        "seconds": round(seconds, 3),
        "cpu_seconds": round(time.process_time() - cpu, 3),
        "written_bytes": None if written is None or after is None else after - written,
    }


def measure(folder: Path, vectors: Vectors, size: int) -> dict[str, Any]:
    """All three ways with batches of one size."""
    count = len(vectors)
    batches = [vectors[start : start + size] for start in range(0, count, size)]
    results = {"raw": measured(count, lambda: write_raw(folder / "raw", batches))}
    documents = [documents_of(batch, number * size) for number, batch in enumerate(batches)]
    store = FaissStore(folder / f"store-{size}")
    store.create(COLLECTION, vectors.shape[1], "benchmark")

    def write_all() -> None:
        for batch in documents:
            store.upsert(COLLECTION, batch)

    results["new"] = measured(count, write_all)
    results["again"] = measured(count, write_all)
    assert store.get(COLLECTION).count == count
    store.close()
    (folder / "raw").unlink()
    shutil.rmtree(folder / f"store-{size}")
    return results


def _written_bytes() -> int | None:
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))


def show(results: dict[str, Any]) -> None:
    """Print the figures as a table."""
    table = Table(title=f"{results['count']} vectors of {results['dimensions']} dimensions", box=None)
    for column in ("batch", "what", "documents/s", "of raw", "wall s", "CPU s", "bytes written/vector bytes"):
        table.add_column(column, justify="left" if column == "what" else "right")
    size = 4 * results["count"] * results["dimensions"]
    for batch, ways in results["batches"].items():
        for what, found in ways.items():
            written = found["written_bytes"]
            table.add_row(
                batch,
                what,
                f"{found['documents_per_second']:,}",
                f"{found['documents_per_second'] / ways['raw']['documents_per_second']:.2f}",
                f"{found['seconds']:.2f}",
                f"{found['cpu_seconds']:.2f}",
                "" if written is None else f"{written / size:.2f}",
            )
    Console().print(table)


def main(
    count: Annotated[int, typer.Option(help="Vectors.", min=1)] = 100_000,
    dimensions: Annotated[int, typer.Option(help="Length of each.", min=1)] = 576,
    batches: Annotated[str, typer.Option(help="Documents of one call, comma-separated.")] = "1000,5000,10000",
    folder: Annotated[Path | None, typer.Option(help="Where to write; unset: a temporary folder.")] = None,
) -> None:
    """Measure, print a table and write benchmarks/results/index_ingest-COUNT.json."""
    vectors = np.concatenate(list(ClusteredVectors(count, dimensions).blocks()))
    results: dict[str, Any] = {
        "surroundings": surroundings(PACKAGES),
        "count": count,
        "dimensions": dimensions,
        "batches": {},
    }
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for size in (int(given) for given in batches.split(",")):
            results["batches"][str(size)] = measure(Path(scratch), vectors, size)
    show(results)
    typer.echo(f"written to {write_results(f'index_ingest-{count}', results)}")


if __name__ == "__main__":
    typer.run(main)
