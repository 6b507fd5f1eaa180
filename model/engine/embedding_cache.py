"""Finished embeddings of items that come again word for word, for those who want them remembered."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import replace

from model.types import Embedding


class EmbeddingCache:
    """Least recently used embeddings by all that they depend on; thread-safe, off with 0 items.

    It is off by default: a server's queries seldom repeat exactly, and one that is answered from memory
    says nothing of how the model does. What is found costs no time, and its times say so.
    """

    def __init__(self, max_items: int) -> None:
        self._max_items = max_items
        self._lock = threading.Lock()
        self._found: OrderedDict[Hashable, Embedding] = OrderedDict()

    def __len__(self) -> int:
        return len(self._found)

    def get(self, key: Hashable) -> Embedding | None:
        """An embedding with a vector of the caller's own, or None."""
        with self._lock:
            embedding = self._found.get(key)
            if embedding is None:
                return None
            self._found.move_to_end(key)
        vector = embedding.vector.copy()
        return replace(embedding, vector=vector, queue_seconds=0.0, compute_seconds=0.0, augment_seconds=0.0)

    def put(self, key: Hashable, embedding: Embedding) -> None:
        """Remember an embedding, letting the least recently used go."""
        if self._max_items == 0:
            return
        with self._lock:
            self._found[key] = replace(embedding, vector=embedding.vector.copy())
            self._found.move_to_end(key)
            while len(self._found) > self._max_items:
                self._found.popitem(last=False)
