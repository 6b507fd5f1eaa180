"""Writes the `route` column: which training queries learn `/augment`, by dataset or each by its own gain.

A query whose row has no augmentation learns `/embed` whatever the study says of it, for there is nothing
that it could learn to write; such rows are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from model.types import Route
from training.annotation import (
    TRAIN,
    link_rest,
    read_rows,
    text_column,
    training_files,
    with_column,
    write_table,
)
from training.pilot.gains import read_gains
from training.pilot.measuring import file_hashes

COLUMN = "route"


@dataclass(frozen=True, slots=True)
class Labelled:
    """How a file's rows are labelled; `unlabelled` are bad rows, or rows that were not measured."""

    file: str
    augment: int
    embed: int
    without_augmentation: int  # of `embed`: to be augmented, but nothing to learn
    unlabelled: int


def label_by_dataset(
    data: Path, output: Path, routes: Mapping[str, Route], facts: Mapping[str, Any], split: str = ""
) -> list[Labelled]:
    """Give all rows of a dataset the route of its side of the pilot study's split.

    Datasets that `routes` does not name are linked as they are. `facts` go into the files' metadata. Raises
    ValueError for a dataset that is missing.
    """
    files = [(route, path) for name, route in routes.items() for path in training_files(data, name, split)]
    labelled = [
        _label(data, output, path, _always(route), {"level": "dataset", **facts}) for route, path in files
    ]
    link_rest(data, output, routes)
    return labelled


def _always(route: Route) -> Callable[[int], Route | None]:
    return lambda number: route


def label_by_query(data: Path, output: Path, gains_file: Path, threshold: float = 0.0) -> list[Labelled]:
    """Give each row the route of its own gain: `/augment` above the threshold.

    The threshold is a difference of margins (cosines). Raises ValueError where the training files are not
    those that the gains were measured on: their row numbers would then mean other rows.
    """
    if not np.isfinite(threshold):
        raise ValueError(f"The threshold must be a finite number, not {threshold}.")
    gains, measured_on = read_gains(gains_file)
    routes: dict[str, dict[int, Route]] = {place: {} for place in measured_on["files"]}
    for one in gains:
        routes[one.file][one.row] = Route.AUGMENT if one.gain > threshold else Route.EMBED
    paths = {place: data / TRAIN / place for place in routes}
    _require_measured(paths, measured_on["files"])
    facts = {
        "level": "query",
        "threshold": threshold,
        **{k: v for k, v in measured_on.items() if k != "files"},
    }
    labelled = [_label(data, output, path, routes[place].get, facts) for place, path in paths.items()]
    link_rest(data, output, {Path(place).parts[0].removesuffix(".parquet") for place in routes})
    return labelled


def _require_measured(paths: Mapping[str, Path], hashes: Mapping[str, str]) -> None:
    missing = [str(path) for path in paths.values() if not path.is_file()]
    if missing:
        raise ValueError(f"The gains were measured on files that are missing: {', '.join(missing)}.")
    if changed := [place for place, found in file_hashes(paths).items() if found != hashes[place]]:
        raise ValueError(f"{', '.join(changed)} changed since the gains were measured; measure them again.")


def _label(
    data: Path,
    output: Path,
    path: Path,
    wanted: Callable[[int], Route | None],
    facts: Mapping[str, Any],
) -> Labelled:
    """Write one file with its routes; `wanted` says what the row of a number is to learn."""
    table = pq.read_table(path)
    rows, _ = read_rows(table)
    has_answer = [bool(text) for text in text_column(table, "augmentation")]
    found = [wanted(number) if number in rows else None for number in range(table.num_rows)]
    routes = [
        Route.EMBED if route is Route.AUGMENT and not answer else route
        for route, answer in zip(found, has_answer, strict=True)
    ]
    place = path.relative_to(data / TRAIN)
    values = ["" if route is None else route.value for route in routes]
    write_table(output / TRAIN / place, with_column(table, COLUMN, values, facts))
    return Labelled(
        file=str(place),
        augment=routes.count(Route.AUGMENT),
        embed=routes.count(Route.EMBED),
        without_augmentation=found.count(Route.AUGMENT) - routes.count(Route.AUGMENT),
        unlabelled=routes.count(None),
    )
