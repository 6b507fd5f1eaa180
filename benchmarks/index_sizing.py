"""What a collection in Milvus takes, by arithmetic: the tables of docs/scaling.md.

    python -m benchmarks.index_sizing --count 100000000 --dimensions 576

Nothing is measured here. The formulas are bytes for each vector of D dimensions:

    flat       4 D
    HNSW       4 D + 4 (2 M + M / (M - 1))      links: 2 M on the ground level, M on each level above, which
                                                a vector reaches with odds of 1 in M (M = 16); FAISS, hnswlib
    IVF_SQ8    D + 8 + 4 D nlist / S            codes, ids, and a segment's centroids shared by its S vectors
    IVF_PQ     D / 8 + 8 + 4 D nlist / S        one byte for 8 dimensions
    DiskANN    (0.125 + 0.1) 4 D                Milvus's defaults: product codes, and a cache of the graph

A vector that the index holds only roughly (IVF_SQ8, IVF_PQ) is also on the query nodes' disks, from where it
is read to be returned; DiskANN keeps vector and links (degree 56) in sectors of 4 KiB.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from typing import Annotated

import typer

GIB = 2**30
HNSW_M = 16
NLIST = 1024
SEGMENT_BYTES = GIB  # Milvus's dataCoord.segment.maxSize
DISKANN_DEGREE = 56
SECTOR = 4096

# What Solomon keeps with a vector, in bytes, for a document of about 300 bytes of JSON with ten terms:
SCALARS_IN_MEMORY = 400  # key 48, terms 80 and their inverted index, scalars 100, Milvus's own row ids
SCALARS_ON_DISK = 700  # the same, and the document, which is mapped from disk

USABLE = 0.7  # of a query node's memory: Milvus stops loading at 0.9, and compaction needs room beside
NODE_GIB = 64
LOAD_GB_PER_SECOND = 0.5  # that one query node reads from object storage


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes for each vector, in the query nodes' memory and on their local disks."""

    memory: float
    disk: float


def footprints(dimensions: int) -> dict[str, Footprint]:
    """The footprint of a vector in each kind of index, without its document."""
    raw = 4.0 * dimensions
    centroids = raw * NLIST / (SEGMENT_BYTES / raw)
    links = 4.0 * (2 * HNSW_M + HNSW_M / (HNSW_M - 1))
    node = raw + 4 + 4 * DISKANN_DEGREE
    sectors = SECTOR / (SECTOR // node) if node <= SECTOR else SECTOR * ceil(node / SECTOR)
    return {
        "flat": Footprint(raw, 0),
        "HNSW": Footprint(raw + links, 0),
        "IVF_SQ8": Footprint(dimensions + 8 + centroids, raw),
        "IVF_PQ": Footprint(dimensions / 8 + 8 + centroids, raw),
        "DiskANN": Footprint(0.225 * raw, sectors),
    }


def table(count: int, dimensions: int) -> Iterable[str]:
    """A Markdown table of the kinds of index for a collection."""
    yield "| index | vectors, GiB | with scalars, GiB | local disk, GiB | nodes of 64 GiB | load, minutes |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for kind, footprint in footprints(dimensions).items():
        memory = count * (footprint.memory + SCALARS_IN_MEMORY) / GIB
        disk = count * (footprint.disk + SCALARS_ON_DISK) / GIB
        nodes = ceil(memory / (USABLE * NODE_GIB))
        loaded = count * (footprint.memory + footprint.disk + SCALARS_ON_DISK)
        minutes = loaded / (nodes * LOAD_GB_PER_SECOND * 1e9) / 60
        vectors = count * footprint.memory / GIB
        yield f"| {kind} | {vectors:,.0f} | {memory:,.0f} | {disk:,.0f} | {nodes} | {minutes:,.0f} |"


def main(
    count: Annotated[int, typer.Option(min=1, help="Vectors.")] = 100_000_000,
    dimensions: Annotated[int, typer.Option(min=1, help="Of a vector.")] = 576,
) -> None:
    """Print the table for a collection."""
    for line in table(count, dimensions):
        typer.echo(line)


if __name__ == "__main__":
    typer.run(main)
