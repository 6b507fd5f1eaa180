"""Embeddings kept by content, so that an evaluation that is run again, or goes on, computes nothing twice.

What is kept is keyed by everything that a vector depends on: the weights and formats of the checkpoint, the
engine's code, the libraries, dtype and device, the options, and the item itself down to its image's bytes.
A change in any of them makes another key; nothing has to be invalidated by hand.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np

import model
from model.checkpoint import MANIFEST, read_manifest
from model.types import Embedding, EmbedOptions, EngineInfo, InputType, Item, Route, RouteChoice

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS embeddings (key TEXT PRIMARY KEY, vector BLOB NOT NULL, facts TEXT NOT NULL)"
)
# What a manifest says that no vector depends on; `files` holds the hashes of everything else in the folder.
_DESCRIBING = ("name", "augment_threshold", "training", "scores", "licences")


class Embeds(Protocol):
    """The one call of an engine that offline work needs."""

    def embed(self, items: Sequence[Item], options: EmbedOptions) -> list[Embedding]:
        """The items' embeddings, in order."""


class RememberedEmbeddings:
    """An engine in front of a SQLite file of what it has embedded before.

    Every call's new embeddings are on disk before it returns. A remembered embedding's times are zero: the
    cache is for vectors, never for latencies. Without a path it lasts as long as the object. `on_embedded`
    hears how many items each call answered.
    """

    def __init__(
        self,
        engine: Embeds,
        identity: str,
        path: Path | None,
        on_embedded: Callable[[int], None] = lambda count: None,
    ) -> None:
        self.on_embedded = on_embedded
        self.computed = 0
        self._engine, self._identity = engine, identity
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(path or ":memory:", timeout=60)
        self._database.execute("PRAGMA journal_mode=WAL")
        with self._database:
            self._database.execute(_SCHEMA)

    def embed(self, items: Sequence[Item], options: EmbedOptions) -> list[Embedding]:
        """The items' embeddings, in order; only those that are not remembered are computed.

        Raises ValueError for an automatic route without a threshold: the checkpoint's own may change while
        its weights stay.
        """
        automatic = options.route is RouteChoice.AUTO and options.input_type is InputType.QUERY
        if automatic and options.augment_threshold is None:
            raise ValueError("Remembered embeddings need an augment_threshold or a forced route: name one.")
        keys = [self._key(item, options) for item in items]
        known = {key: found for key in dict.fromkeys(keys) if (found := self._recall(key)) is not None}
        missing = {key: item for key, item in zip(keys, items, strict=True) if key not in known}
        if missing:
            fresh = self._engine.embed(list(missing.values()), options)
            self.computed += len(fresh)
            with self._database:
                for key, embedding in zip(missing, fresh, strict=True):
                    self._remember(key, embedding)
                    known[key] = embedding
        self.on_embedded(len(items))
        return [known[key] for key in keys]

    def close(self) -> None:
        """Close the file; the engine stays open."""
        self._database.close()

    def _key(self, item: Item, options: EmbedOptions) -> str:
        image = "" if item.image is None else hashlib.sha256(item.image).hexdigest()
        how = [
            *(options.input_type.value, options.instruction, options.route.value),
            *(options.augment_threshold, options.max_augment_tokens, options.truncate),
        ]
        return _sha256([self._identity, how, item.text, image])

    def _recall(self, key: str) -> Embedding | None:
        row = self._database.execute("SELECT vector, facts FROM embeddings WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        facts = json.loads(row[1])
        route = facts.pop("route")
        return Embedding(
            vector=np.frombuffer(row[0], dtype="<f4"),
            route=None if route is None else Route(route),
            queue_seconds=0.0,
            compute_seconds=0.0,
            augment_seconds=0.0,
            **facts,
        )

    def _remember(self, key: str, embedding: Embedding) -> None:
        facts = {
            "route": embedding.route,
            "decision": embedding.decision,
            "confidence": embedding.confidence,
            "augmentation": embedding.augmentation,
            "prompt_tokens": embedding.prompt_tokens,
            "image_tokens": embedding.image_tokens,
            "augment_tokens": embedding.augment_tokens,
        }
        vector = embedding.vector.astype("<f4").tobytes()
        self._database.execute(
            "INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?)", (key, vector, json.dumps(facts))
        )


def weights_identity(checkpoint: Path, info: EngineInfo) -> str:
    """A hash of what a checkpoint computes with: weights and formats, not its name, scores or threshold."""
    if not (checkpoint / MANIFEST).is_file():
        return info.checkpoint_sha256
    manifest = read_manifest(checkpoint).model_dump(mode="json")
    return _sha256({name: value for name, value in manifest.items() if name not in _DESCRIBING})


def embedding_identity(checkpoint: Path, info: EngineInfo) -> str:
    """A hash of everything but the item that its vector depends on; see the module."""
    libraries = [version(name) for name in ("torch", "transformers", "peft")]
    runtime = [info.base_revision, info.dtype, info.device, libraries]
    return _sha256([weights_identity(checkpoint, info), runtime, _engine_code()])


def _engine_code() -> str:
    """The hash of the model package's sources."""
    folder = Path(model.__path__[0])
    sources = sorted(folder.rglob("*.py"))
    return _sha256([[str(path.relative_to(folder)), path.read_text("utf-8")] for path in sources])


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
