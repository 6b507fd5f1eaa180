"""How a collection's index is chosen: what an operator may set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

IndexKind = Literal["auto", "flat", "hnsw", "ivf"]

# Measured by `benchmarks/index_search.py` on 576 dimensions: a scan takes about 0.1 ms for a thousand
# documents and one core, an approximate search 0.6 ms whatever the size. From 5,000 documents on the scan is
# the slower one, by 1.5 ms at this size; until then that is not worth giving up exact results.
FLAT_THRESHOLD = 20_000

LEAST_TRAINABLE = 1000  # documents; fewer are searched flat whatever the setting

# Building a graph over more takes too long on a few cores, where cells take minutes for a million.
HNSW_AT_MOST = 200_000


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """Which index a collection gets, and what it must reach.

    `kind` "auto" is flat below `flat_threshold` documents and approximate from there. An approximate index
    that does not reach `recall_floor` (recall@10 against exact search) gives way to another, in the end to
    flat. `gpu` trains and searches inverted files on the first GPU that FAISS sees.
    """

    kind: IndexKind = "auto"
    recall_floor: float = 0.95
    flat_threshold: int = FLAT_THRESHOLD
    gpu: bool = False

    def __post_init__(self) -> None:
        if self.kind not in get_args(IndexKind):
            raise ValueError(f"kind must be one of {', '.join(get_args(IndexKind))}, not {self.kind!r}")
        if not 0.0 < self.recall_floor <= 1.0:
            raise ValueError(f"recall_floor must be above 0 and at most 1, not {self.recall_floor}")
        if self.flat_threshold < 1:
            raise ValueError(f"flat_threshold must be at least 1, not {self.flat_threshold}")

    def kinds(self, count: int) -> Sequence[IndexKind]:
        """The approximate kinds to try for so many documents, the preferred first; none: search flat."""
        if self.kind == "flat" or count < LEAST_TRAINABLE:
            return ()
        if self.kind != "auto":
            return (self.kind,)
        if count < self.flat_threshold:
            return ()
        return ("ivf", "hnsw") if count <= HNSW_AT_MOST else ("ivf",)
