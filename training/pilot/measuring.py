"""Opens a checkpoint for measuring, with its embeddings remembered: an interrupted study goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from model.checkpoint import load_model
from model.engine import Engine, EngineSettings
from training.provenance import file_sha256
from training.remembered import RememberedEmbeddings, embedding_identity


@contextmanager
def opened(
    checkpoint: Path, cache: Path, device: str = "auto", report: Callable[[str], None] = print
) -> Iterator[RememberedEmbeddings]:
    """An engine over a checkpoint's folder, in front of `cache` (one SQLite file for all checkpoints).

    Raises CheckpointError for a folder that is none, or a corrupt one.
    """
    loaded = load_model(checkpoint, report)
    with closing(Engine(loaded, EngineSettings(device=None if device == "auto" else device))) as engine:
        identity = embedding_identity(checkpoint, engine.info)
        with closing(RememberedEmbeddings(engine, identity, cache)) as remembered:
            yield remembered


def file_hashes(paths: Mapping[str, Path]) -> dict[str, str]:
    """The SHA-256 of each named file: what a measurement was made on."""
    return {name: file_sha256(path) for name, path in sorted(paths.items())}
