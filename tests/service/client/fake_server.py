"""A server of the client's calls without a model: it answers in memory, and can be told to refuse."""

from __future__ import annotations

import base64
import json
from collections import deque

import httpx
import numpy as np

DIMENSIONS = 8
TOO_LONG = "too long"
PICTURE = b"\x89PNG and so on"


def vector_of(text):
    vector = np.random.default_rng(len(text)).normal(size=DIMENSIONS)
    return (vector / np.linalg.norm(vector)).astype("<f4")


class FakeServer:
    """Remembers the calls; `refusals` are answered first, and a text TOO_LONG is never taken."""

    def __init__(self, max_items=4):
        self.max_items = max_items
        self.refusals = deque()
        self.calls = []
        self.stored = {}

    def __call__(self, request):
        body = json.loads(request.content) if request.content else None
        self.calls.append((request.method, request.url.path, body))
        if self.refusals:
            refusal = self.refusals.popleft()
            if isinstance(refusal, Exception):
                raise refusal
            return refusal
        return self.answer(request.method, request.url.raw_path.decode(), body)

    def answer(self, method, path, body):
        if path == "/info":
            limits = {"max_items": self.max_items, "max_queue": 100, "max_body_bytes": 4000}
            return httpx.Response(
                200,
                json={
                    "version": "1",
                    "model": {"name": "fake"},
                    "dimensions": DIMENSIONS,
                    "augment_threshold": 0.5,
                    "limits": limits,
                    "a_new_member": True,
                },
            )
        if path == "/embed":
            return self.embed(body)
        if path.endswith("/image"):
            return httpx.Response(200, content=PICTURE, headers={"Content-Type": "image/png"})
        if path.endswith("/documents/missing"):
            ids = [entry["id"] for entry in body["documents"]]
            return httpx.Response(200, json={"missing": [name for name in ids if name not in self.stored]})
        if path.endswith("/documents"):
            return self.add(body["documents"])
        if method == "PUT":
            return httpx.Response(200, json=self.collection(path.rpartition("/")[2]))
        if method == "DELETE":
            return httpx.Response(204)
        return httpx.Response(404, json={"detail": "Nothing is here.", "status": 404})

    def embed(self, body):
        data = [
            {
                "index": index,
                "embedding": base64.b64encode(vector_of(str(item)).tobytes()).decode(),
                "route": "embed",
                "confidence": 0.9,
                "augmentation": None,
                "augment_tokens": 0,
            }
            for index, item in enumerate(body["input"])
        ]
        usage = {"prompt_tokens": len(data), "image_tokens": 0, "augment_tokens": 0}
        answer = {"model": "fake", "dimensions": DIMENSIONS, "data": data, "usage": usage, "latency_ms": 1.0}
        return httpx.Response(200, json=answer)

    def add(self, documents):
        for position, document in enumerate(documents):
            if document.get("text") == TOO_LONG:
                error = {"field": f"documents[{position}].text", "message": "It is too long."}
                return httpx.Response(422, json={"detail": "No.", "errors": [error]})
        self.stored |= {document["id"]: document for document in documents}
        return httpx.Response(201, json={"ids": [document["id"] for document in documents]})

    def collection(self, name):
        return {
            "name": name,
            "count": len(self.stored),
            "dimensions": DIMENSIONS,
            "index_kind": "flat",
            "model": "fake",
            "recall": None,
            "lost": 0,
        }

    def paths(self):
        return [f"{method} {path}" for method, path, _ in self.calls]
