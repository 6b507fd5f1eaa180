"""Answers of the API as typed values. Members that a newer server adds are passed over."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Embedding:
    """One item's vector [D], of unit length; `route` and `confidence` are None for documents."""

    vector: Vector = field(repr=False)
    route: str | None
    confidence: float | None
    augmentation: str | None
    augment_tokens: int


@dataclass(frozen=True, slots=True)
class Embeddings(Sequence[Embedding]):
    """The embeddings of a call, in the order of its items, and the tokens that they took."""

    model: str
    dimensions: int
    items: tuple[Embedding, ...]
    prompt_tokens: int
    augment_tokens: int

    @property
    def vectors(self) -> Vector:
        """All vectors, [N, D]."""
        if not self.items:
            return np.zeros((0, self.dimensions), np.float32)
        return np.stack([item.vector for item in self.items])

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Embedding]:
        return iter(self.items)

    def __getitem__(self, position: Any) -> Any:
        return self.items[position]

    @classmethod
    def joined(cls, parts: Sequence[Embeddings]) -> Embeddings:
        """The embeddings of several calls as those of one."""
        return cls(
            model=parts[0].model if parts else "",
            dimensions=parts[0].dimensions if parts else 0,
            items=tuple(item for part in parts for item in part.items),
            prompt_tokens=sum(part.prompt_tokens for part in parts),
            augment_tokens=sum(part.augment_tokens for part in parts),
        )


@dataclass(frozen=True, slots=True)
class Hit:
    """A document that was found; `score` is the cosine similarity, `image_url` a path on the server."""

    id: str
    score: float
    text: str | None
    image_url: str | None
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """Hits, best first, and how the query was embedded; `latency_ms` by stage."""

    results: tuple[Hit, ...]
    route: str | None
    confidence: float | None
    augmentation: str | None
    latency_ms: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection; `recall` is that of its index as last measured, None if it was not."""

    name: str
    count: int
    dimensions: int
    index_kind: str
    model: str
    recall: float | None
    lost: int


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as it is stored; `image_url` is a path on the server."""

    id: str
    text: str | None
    image_url: str | None
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What is served: the model's members and the limits as the server names them."""

    version: str
    model: Mapping[str, Any]
    dimensions: int
    augment_threshold: float
    limits: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call of this client holds."""

    items: int
    bytes: int


_BATCH = 64  # the engine's own batch


def limits_of(info: ServerInfo) -> Limits:
    """Batches that the server takes, with room for what is not counted."""
    stated = info.limits
    items = min(_BATCH, int(stated["max_items"]), max(1, int(stated["max_queue"]) // 2))
    return Limits(items, int(stated["max_body_bytes"]) // 2)


def read_embeddings(body: Mapping[str, Any]) -> Embeddings:
    """The answer of `POST /embed` with base64 vectors."""
    return Embeddings(
        model=body["model"],
        dimensions=body["dimensions"],
        items=tuple(
            Embedding(
                vector=np.frombuffer(base64.b64decode(entry["embedding"]), "<f4").astype(np.float32),
                route=entry["route"],
                confidence=entry["confidence"],
                augmentation=entry["augmentation"],
                augment_tokens=entry["augment_tokens"],
            )
            for entry in body["data"]
        ),
        prompt_tokens=body["usage"]["prompt_tokens"],
        augment_tokens=body["usage"]["augment_tokens"],
    )


def read_search(body: Mapping[str, Any]) -> SearchAnswer:
    """The answer of `POST /search`."""
    return SearchAnswer(
        results=tuple(_members(Hit, hit) for hit in body["results"]),
        route=body["route"],
        confidence=body["confidence"],
        augmentation=body["augmentation"],
        latency_ms=body["latency_ms"],
    )


def read_collection(body: Mapping[str, Any]) -> Collection:
    """A collection."""
    return _members(Collection, body)


def read_collections(body: Mapping[str, Any]) -> list[Collection]:
    """The answer of `GET /collections`."""
    return [read_collection(entry) for entry in body["collections"]]


def read_document(body: Mapping[str, Any]) -> StoredDocument:
    """A document."""
    return _members(StoredDocument, body)


def read_info(body: Mapping[str, Any]) -> ServerInfo:
    """The answer of `GET /info`."""
    return _members(ServerInfo, body)


def read_missing(body: Mapping[str, Any]) -> frozenset[str]:
    """The ids that a collection lacks."""
    return frozenset(body["missing"])


def read_nothing(body: Mapping[str, Any]) -> None:
    """An answer that says nothing more than that it was done."""


def read_bytes(content: bytes) -> bytes:
    """An answer that is what was asked for."""
    return content


def _members(kind: type[_T], body: Mapping[str, Any]) -> _T:
    names = kind.__dataclass_fields__  # type: ignore[attr-defined]  # only dataclasses are passed
    return kind(**{name: body[name] for name in names})
