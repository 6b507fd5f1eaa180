"""Writes `datasets.json` and `sources.json`: what each data set of a folder is, and what its files hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from training.catalogue import CATALOGUE
from training.mini.datasets import DATASETS
from training.mini.splits import Split

SOURCES = "sources.json"  # read by training.provenance for a checkpoint's manifest


def write_descriptions(folder: Path) -> None:
    """Describe every data set that has a file below `folder`, with the numbers read from its files."""
    found = {name: describe(folder, name) for name in DATASETS}
    found = {name: facts for name, facts in found.items() if facts["rows"]}
    _write(folder / CATALOGUE, found)
    _write(folder / SOURCES, {name: facts["source"] for name, facts in found.items()})


def describe(folder: Path, name: str) -> dict[str, object]:
    """A data set's account: what it is, its rows in each split, its candidates in evaluation."""
    paths = {split.value: folder / split.value / f"{name}.parquet" for split in Split}
    rows = {split: pq.read_metadata(path).num_rows for split, path in paths.items() if path.exists()}
    facts = {**asdict(DATASETS[name]), "rows": rows}
    evaluation = paths[Split.DEVELOPMENT.value]
    if evaluation.exists():
        counts = pc.list_value_length(pq.read_table(evaluation, columns=["tgt_text"])["tgt_text"])
        facts["candidates"] = {"fewest": pc.min(counts).as_py(), "most": pc.max(counts).as_py()}
    return facts


def _write(path: Path, content: Mapping[str, object]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
    partial.replace(path)
