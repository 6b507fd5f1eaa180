"""What a checkpoint's manifest says of how it was made: data, vision tower, software and machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from training.mmeb import TrainingRow
from training.training_data import dataset_path

SOURCES = "sources.json"  # in a data folder: dataset to origin and licence
FACTS = "facts"  # in a safetensors file's metadata: JSON
_LIBRARIES = ("torch", "transformers", "peft", "accelerate")


def data_facts(data: Path, rows: Mapping[str, Sequence[TrainingRow]]) -> dict[str, dict[str, Any]]:
    """Each training subset's rows, the SHA-256 of its file, and its origin where the data folder tells it."""
    sources: dict[str, str] = {}
    if (data / SOURCES).exists():
        sources = json.loads((data / SOURCES).read_text())
    return {
        name: {
            "rows": len(subset),
            "sha256": _data_sha256(dataset_path(data, name)),
            "source": sources.get(name, "not stated"),
        }
        for name, subset in rows.items()
    }


def _data_sha256(path: Path) -> str:
    """A file's hash; of a folder of shards, the hash of their names and hashes."""
    if path.is_file():
        return file_sha256(path)
    digest = hashlib.sha256()
    for shard in sorted(path.iterdir()):
        if shard.is_file():
            digest.update(f"{shard.name} {file_sha256(shard)}\n".encode())
    return digest.hexdigest()


def tower_facts(path: Path) -> dict[str, Any]:
    """A vision tower's own account of its training (`save_tower` wrote it), and its hash."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
    return {"sha256": file_sha256(path), **json.loads(metadata.get(FACTS, "{}"))}


def machine_facts(device: str) -> dict[str, Any]:
    """Versions and hardware: what a rerun would have to match to give the same bits."""
    accelerator = torch.cuda.get_device_name(device) if device.startswith("cuda") else None
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in _LIBRARIES},
        "processor": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "device": accelerator or device,
    }


def file_sha256(path: Path) -> str:
    """A file's SHA-256, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
