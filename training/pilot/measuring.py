"""Opens a checkpoint for measuring, with its embeddings remembered: an interrupted study goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from model.checkpoint import load_model
from model.engine import Engine, EngineSettings
from training.remembered import RememberedEmbeddings, embedding_identity


@contextmanager
def opened(
    checkpoint: Path, cache: Path, device: str | None = None, report: Callable[[str], None] = print
) -> Iterator[RememberedEmbeddings]:
    """An engine over a checkpoint's folder, in front of `cache` (one SQLite file for all checkpoints).

    Raises CheckpointError for a folder that is none, or a corrupt one.
    """
    loaded = load_model(checkpoint, report)
    with closing(Engine(loaded, EngineSettings(device=device))) as engine:
        identity = embedding_identity(checkpoint, engine.info)
        with closing(RememberedEmbeddings(engine, identity, cache)) as remembered:
            yield remembered


def file_facts(paths: dict[str, Path]) -> dict[str, str]:
    """The SHA-256 of each named file: what a measurement was made on."""
    hashes = {}
    for name, path in sorted(paths.items()):
        with path.open("rb") as file:
            hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes
