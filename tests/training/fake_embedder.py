"""An engine without a model: vectors by text and route as a test sets them, by hash where it does not."""

import hashlib
from types import SimpleNamespace

import numpy as np

from model.types import Embedding, InputType, Route

DIMENSIONS = 16


def hashed(*parts):
    """A unit vector that depends on the parts alone."""
    seed = int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:8])
    vector = np.random.default_rng(seed).normal(size=DIMENSIONS)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


class FakeEmbedder:
    """`vectors` maps ("document", "embed" or "augment"; text) to a vector, `answers` a text to an answer."""

    def __init__(self, vectors=None, answers=None):
        self.vectors, self.answers = vectors or {}, answers or {}
        self.info = SimpleNamespace(model="fake", checkpoint_sha256="0" * 64)
        self.seen = []

    def embed(self, items, options):
        """The items' vectors, in order."""
        return [self._one(item, options) for item in items]

    def _one(self, item, options):
        document = options.input_type is InputType.DOCUMENT
        side = "document" if document else options.route.value
        text = item.text or ""
        self.seen.append((side, text))
        vector = self.vectors.get((side, text))
        if vector is None:
            vector = hashed(side, text, hashlib.sha256(item.image or b"").hexdigest())
        augmented = side == "augment"
        answer = self.answers.get(text, f"about {text}") if augmented else None
        route = None if document else Route(side)
        return Embedding(vector, route, "forced", 0.9, answer, 5, 0, 3 if augmented else 0, 0.0, 0.0, 0.0)
