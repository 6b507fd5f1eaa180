"""The route that a whole dataset was labelled with, for scoring the held-out queries of that dataset.

Labelling (`solomon pilot label`) writes a `route` into the training rows only. Where all training rows of a
dataset carry the same one, it is the dataset's, and its evaluation queries are meant to take it too, whether
or not the rows hold an answer. Where they differ (labels query by query) nothing follows for other queries.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from model.types import Route

_COLUMN = "route"


def dataset_routes(data: Path) -> dict[str, Route]:
    """The common route of each dataset below `data/train` (a file or a folder of shards) that has one.

    Raises ValueError, naming the file, for a route that is none.
    """
    labels: dict[str, set[str]] = {}
    for name, path in _training_files(data / "train"):
        labels.setdefault(name, set()).update(_labels(path))
    return {name: Route(found.pop()) for name, found in labels.items() if len(found) == 1 and found != {""}}


def _training_files(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.glob("*.parquet")):
        yield path.stem, path
    for path in sorted(folder.glob("*/*.parquet")):
        yield path.parent.name, path


def _labels(path: Path) -> set[str]:
    if _COLUMN not in pq.read_schema(path).names:
        return {""}
    found = {value or "" for value in pc.unique(pq.read_table(path, columns=[_COLUMN])[_COLUMN]).to_pylist()}
    if unknown := found - {"", *(route.value for route in Route)}:
        raise ValueError(f"{path}: the route '{min(unknown)}' is none; label the rows 'embed' or 'augment'.")
    return found
