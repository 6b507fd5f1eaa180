"""Mines a data folder's datasets with a checkpoint, one after the other, resumably.

Vectors are kept part by part beside the output, so an interrupted run embeds nothing twice; a dataset that
is finished under the same checkpoint, rows and rule is left alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.progress import track
from safetensors.numpy import load_file, save_file

from model.types import Embedder, EmbedOptions, InputType, Item, RouteChoice
from training.mining import Matrix, Mined, MiningRule, corpus_of, mine_negatives
from training.mmeb import TrainingRow, read_training_rows, strip_image_marker, write_rows
from training.provenance import file_sha256

PART = 512  # items embedded between two saves

Report = Callable[[str], None]


def mine_datasets(
    engine: Embedder,
    data: Path,
    datasets: Sequence[str],
    output: Path,
    rule: MiningRule,
    report: Report = print,
) -> None:
    """Write `output/train/<dataset>.parquet`: the rows of `data` with mined negatives.

    Raises ValueError for a missing dataset, or for an output that would overwrite its own input.
    """
    if output.resolve() == data.resolve():
        raise ValueError(f"{output} holds the rows to mine from; give another output folder.")
    for name in datasets:
        _mine_dataset(engine, data, name, output, rule, report)


def _mine_dataset(
    engine: Embedder, data: Path, name: str, output: Path, rule: MiningRule, report: Report
) -> None:
    source, target = data / "train" / f"{name}.parquet", output / "train" / f"{name}.parquet"
    if not source.is_file():
        raise ValueError(f"{source} is missing: build the data first or drop '{name}'.")
    identity = {
        "checkpoint": engine.info.checkpoint_sha256,
        "rows": file_sha256(source),
        "rule": asdict(rule),
    }
    record = target.with_suffix(".mined.json")
    if target.is_file() and record.is_file() and json.loads(record.read_text())["identity"] == identity:
        report(f"{name}: mined before")
        return
    rows, vectors = read_training_rows(source), VectorParts(engine, output / "vectors", data / "images")
    corpus = corpus_of(rows)
    queries = vectors.embed(
        f"{name} queries", [(row.qry, row.qry_image_path) for row in rows], InputType.QUERY
    )
    documents = vectors.embed(
        f"{name} documents", [(entry.text, entry.image_path) for entry in corpus], InputType.DOCUMENT
    )
    mined = mine_negatives(rows, queries, corpus, documents, rule)
    write_rows(target, mined.rows)
    record.write_text(json.dumps({"identity": identity, **_account(rows, mined)}, indent=2) + "\n")
    report(f"{name}: {len(rows) - mined.without} of {len(rows)} queries got new negatives")


def _account(rows: Sequence[TrainingRow], mined: Mined) -> dict[str, int]:
    return {"queries": len(rows), "without_new_negatives": mined.without}


class VectorParts:
    """Vectors by the engine, kept in parts named by what they are of."""

    def __init__(self, engine: Embedder, folder: Path, image_root: Path) -> None:
        self.engine, self.folder, self.image_root = engine, folder, image_root

    def embed(self, title: str, contents: Sequence[tuple[str, str]], input_type: InputType) -> Matrix:
        """[N, D] unit vectors of (text, image path) contents; queries are embedded without augmentation."""
        starts = range(0, len(contents), PART)
        parts = [
            self._part(contents[start : start + PART], input_type) for start in track(starts, f"{title} ")
        ]
        return np.concatenate(parts)

    def _part(self, contents: Sequence[tuple[str, str]], input_type: InputType) -> Matrix:
        file = self.folder / f"{self._identity(contents, input_type)}.safetensors"
        if not file.is_file():
            route = RouteChoice.EMBED if input_type is InputType.QUERY else RouteChoice.AUTO
            options = EmbedOptions(input_type=input_type, route=route, truncate=True)
            embedded = self.engine.embed([self._item(*content) for content in contents], options)
            self.folder.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(".partial")
            save_file({"vectors": np.stack([one.vector for one in embedded])}, partial)
            partial.replace(file)
        return load_file(file)["vectors"]

    def _identity(self, contents: Sequence[tuple[str, str]], input_type: InputType) -> str:
        digest = hashlib.sha256(self.engine.info.checkpoint_sha256.encode())
        digest.update(json.dumps([input_type.value, list(contents)]).encode())
        return digest.hexdigest()[:24]

    def _item(self, text: str, image_path: str) -> Item:
        image = (self.image_root / image_path).read_bytes() if image_path else None
        return Item(strip_image_marker(text) or None, image)
