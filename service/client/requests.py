"""Each call of the API, built from Python values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from service.client import answers
from service.client.calls import Call
from service.client.content import Item, ItemBody, item_body
from service.client.paths import collection_path, document_path

InputType = Literal["query", "document"]
Route = Literal["auto", "embed", "augment"]


@dataclass(frozen=True, slots=True)
class Routing:
    """Who decides a query's route, and how much may be written; None leaves it to the server."""

    route: Route = "auto"
    instruction: str | None = None
    augment_threshold: float | None = None
    max_augment_tokens: int | None = None

    def body(self) -> dict[str, Any]:
        """The members that say something."""
        return _stated(
            route=None if self.route == "auto" else self.route,
            instruction=self.instruction,
            augment_threshold=self.augment_threshold,
            max_augment_tokens=self.max_augment_tokens,
        )


def info() -> Call[answers.ServerInfo]:
    """What is served."""
    return Call("GET", "/info", answers.read_info)


def embed(
    items: Sequence[ItemBody],
    input_type: InputType,
    routing: Routing,
    dimensions: int | None,
    truncate: bool,
) -> Call[answers.Embeddings]:
    """Embed one batch of items as the API takes them."""
    body = {"input": list(items), "input_type": input_type, "encoding_format": "base64"}
    extra = _stated(dimensions=dimensions, truncate=truncate or None)
    return Call("POST", "/embed", answers.read_embeddings, body | routing.body() | extra)


def search(
    query: str | Item | None,
    vector: Sequence[float] | None,
    collection: str,
    k: int,
    where: Mapping[str, Any] | None,
    routing: Routing,
) -> Call[answers.SearchAnswer]:
    """Search by a query or by a vector."""
    body = _stated(
        query=None if query is None else item_body(query),
        vector=None if vector is None else [float(number) for number in vector],
        filter=None if where is None else dict(where),
    )
    body |= {"collection": collection, "k": k} | routing.body()
    return Call("POST", "/search", answers.read_search, body)


def collections() -> Call[list[answers.Collection]]:
    """Every collection."""
    return Call("GET", "/collections", answers.read_collections)


def collection(name: str) -> Call[answers.Collection]:
    """One collection."""
    return Call("GET", collection_path(name), answers.read_collection)


def make_collection(name: str) -> Call[answers.Collection]:
    """Make a collection, or find it."""
    return Call("PUT", collection_path(name), answers.read_collection)


def drop_collection(name: str) -> Call[None]:
    """Remove a collection."""
    return Call("DELETE", collection_path(name), answers.read_nothing, repeatable=False)


def document(collection: str, document_id: str) -> Call[answers.StoredDocument]:
    """One document."""
    return Call("GET", document_path(collection, document_id), answers.read_document)


def image(collection: str, document_id: str) -> Call[bytes]:
    """A document's image."""
    path = f"{document_path(collection, document_id)}/image"
    return Call("GET", path, answers.read_bytes, raw=True)


def delete_document(collection: str, document_id: str) -> Call[None]:
    """Remove a document."""
    return Call("DELETE", document_path(collection, document_id), answers.read_nothing, repeatable=False)


def missing(collection: str, fingerprints: Mapping[str, str]) -> Call[frozenset[str]]:
    """Which of some documents (their fingerprints by id) a collection lacks."""
    known = [{"id": name, "fingerprint": mark} for name, mark in fingerprints.items()]
    path = f"{collection_path(collection)}/documents/missing"
    return Call("POST", path, answers.read_missing, {"documents": known})


def add(collection: str, documents: Sequence[Mapping[str, Any]], model: str | None) -> Call[None]:
    """Add documents, all or none; every one has an id, so that a second time changes nothing.

    `model` names the checkpoint of the vectors that the documents bring along, if they do.
    """
    body = {"documents": list(documents)} | _stated(model=model)
    return Call("POST", f"{collection_path(collection)}/documents", answers.read_nothing, body)


def _stated(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
