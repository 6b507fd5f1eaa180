"""Adds a column (`augmentation`, `route`) to a data folder's training files, leaving all else as it is.

What is written is a data folder of its own: its `train/` holds the new files, and whatever else the source
folder has (images/, eval/, calibration/, descriptions) is linked, so that it trains and evaluates as it is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from training.mmeb import TrainingRow, parse_training_row
from training.subsets import subset_files

TRAIN = "train"
_METADATA_PREFIX = "solomon."


def training_files(data: Path, dataset: str, split: str = "") -> list[Path]:
    """A dataset's Parquet files: `train/<dataset>.parquet`, or the shards of MMEB's folder of that name.

    `split` chooses among a folder's splits ("original"). Raises ValueError, naming the datasets that there
    are, when it is missing, and for what `training.subsets` refuses.
    """
    path = data / TRAIN / f"{dataset}.parquet"
    if path.is_file():
        return [path]
    if not (data / TRAIN / dataset).is_dir():
        known = ", ".join(training_datasets(data)) or "none"
        raise ValueError(f"{path} is missing. Datasets below {data / TRAIN}: {known}.")
    _, files = subset_files(data / TRAIN / dataset, split)
    for file in files:
        if not file.endswith(".parquet"):
            raise ValueError(f"{file} can get no column; convert it to Parquet first.")
    return [Path(file) for file in files]


def training_datasets(data: Path) -> list[str]:
    """The names of the datasets below `data/train`, files and folders."""
    found = (data / TRAIN).iterdir() if (data / TRAIN).is_dir() else iter(())
    return sorted({_name(path) for path in found if _is_dataset(path)})


def _is_dataset(path: Path) -> bool:
    return path.suffix == ".parquet" if path.is_file() else any(path.glob("*.parquet"))


def _name(path: Path) -> str:
    return path.stem if path.is_file() else path.name


def text_column(table: pa.Table, name: str) -> list[str]:
    """A column as strings; empty ones for nulls and for a column that the table lacks."""
    if name not in table.column_names:
        return [""] * table.num_rows
    return [str(value or "") for value in table.column(name).to_pylist()]


def with_column(table: pa.Table, name: str, values: Sequence[str], facts: Mapping[str, Any]) -> pa.Table:
    """The table with a column of strings put in the old one's place, or at the end.

    `facts` (how the column was made) go into the file's metadata as JSON, under `solomon.<name>`. Raises
    ValueError unless there is a value for every row.
    """
    if len(values) != table.num_rows:
        raise ValueError(f"The column '{name}' has {len(values)} values for {table.num_rows} rows.")
    column = pa.array(values, pa.string())
    if name in table.column_names:
        changed = table.set_column(table.column_names.index(name), pa.field(name, pa.string()), column)
    else:
        changed = table.append_column(pa.field(name, pa.string()), column)
    metadata = {**(table.schema.metadata or {}), f"{_METADATA_PREFIX}{name}".encode(): json.dumps(facts)}
    return changed.replace_schema_metadata(metadata)


def column_facts(path: Path, name: str) -> dict[str, Any]:
    """What a file's metadata says of how a column was made; empty where it says nothing."""
    metadata = pq.read_schema(path).metadata or {}
    return dict(json.loads(metadata.get(f"{_METADATA_PREFIX}{name}".encode(), "{}")))


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file atomically: a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        pq.write_table(table, partial, compression="zstd")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def link_rest(data: Path, output: Path, datasets: Collection[str] = ()) -> None:
    """Link what `data` has beside its training files, and its training datasets other than `datasets`.

    Names that `output` already has are left alone. Links are relative, so that both folders may move
    together.
    """
    if output.resolve() == data.resolve():
        return
    (output / TRAIN).mkdir(parents=True, exist_ok=True)
    found = [path for path in data.iterdir() if path.name != TRAIN]
    others = set(training_datasets(data)) - set(datasets)
    found += [path for path in (data / TRAIN).iterdir() if _is_dataset(path) and _name(path) in others]
    for path in found:
        link = output / path.relative_to(data)
        if not link.exists() and not link.is_symlink():
            # Through the real folders: the way up from a linked folder is not the way back.
            link.symlink_to(os.path.relpath(path.resolve(), link.parent.resolve()))


def read_rows(table: pa.Table) -> tuple[dict[int, TrainingRow], dict[int, str]]:
    """The table's usable rows by their number, and for every other what is wrong with it.

    Unlike a plain reading nothing is raised for a bad row: it stays in the table, and gets no value.
    """
    rows, problems = {}, {}
    for number, values in enumerate(table.to_pylist()):
        try:
            rows[number] = parse_training_row(values)
        except ValueError as error:
            problems[number] = str(error)
    return rows, problems
