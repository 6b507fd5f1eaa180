"""What lies on disk: checkpoint, base weights, data directory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from model.installing import install_command
from service.doctor.findings import Finding, good, missing, note
from service.settings import FAISS, Settings

_LITTLE = 2**30  # bytes of free disk


def examine_files(settings: Settings) -> Iterator[Finding]:
    """Findings about the checkpoint, the base that it stands on, and where collections are kept."""
    if settings.model is None:
        yield from _checkpoint(settings.checkpoint)
    else:
        yield note("model", f"{settings.model}, whose routes are untrained unless it is a checkpoint of ours")
    yield from _store(settings)


def _checkpoint(folder: Path) -> Iterator[Finding]:
    from model.checkpoint import verify
    from model.errors import CheckpointError
    from model.mini_base import NAME, mini_base_path

    try:
        manifest = verify(folder)
    except CheckpointError as error:
        yield missing("checkpoint", str(error), "Set SOLOMON_CHECKPOINT to a checkpoint's folder.")
        return
    yield good("checkpoint", f"{manifest.name} in {folder}, every file as its manifest says")
    if manifest.base.model != NAME:
        yield note("base model", f"{manifest.base.model}, from the model hub or its cache")
    elif (mini_base_path() / "complete.json").exists():
        yield good("base model", f"{manifest.base.model} in {mini_base_path()}")
    else:
        mend = "`solomon checkpoint base` fetches it (93 MB), and so does the first start."
        yield note("base model", f"{manifest.base.model} is not built yet", mend)


def _store(settings: Settings) -> Iterator[Finding]:
    if settings.store != FAISS:
        yield from _milvus(settings.store)
        return
    folder = settings.data_dir
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        mend = "Set SOLOMON_DATA_DIR to a folder of yours."
        yield missing("data directory", f"{folder} cannot be written", mend)
        return
    free = shutil.disk_usage(existing).free
    found = f"{folder}{'' if folder.exists() else ' (made at the first start)'}, {free / 2**30:.1f} GiB free"
    if free < _LITTLE:
        yield note("data directory", found, "Make room, or set SOLOMON_DATA_DIR to another disk.")
    else:
        yield good("data directory", found)


def _milvus(store: str) -> Iterator[Finding]:
    try:
        import pymilvus  # noqa: F401  # only whether it can be imported
    except ImportError:
        yield missing("store", f"{store} needs pymilvus", install_command("milvus"))
        return
    yield good("store", f"Milvus at {store}")
