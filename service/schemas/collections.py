"""Collections and their documents."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Discriminator, Field, JsonValue, Tag, model_validator

from index.validation import MAX_DIMENSIONS, MAX_ID_CHARACTERS
from service.schemas.base import Body, field_fault
from service.schemas.items import BASE64_TAG, IMAGE_DESCRIPTION, MAX_ITEMS, NUMBERS_TAG


class CollectionRequest(Body):
    """Nothing can be set yet: the model that is served decides the dimensions."""


class CollectionBody(Body):
    """A collection."""

    name: str
    count: int = Field(description="Documents in it.")
    dimensions: int = Field(description="Length of its vectors.")
    index_kind: str = Field(description="How neighbours are found, e.g. flat or hnsw.")
    model: str = Field(description="The model that made its vectors.")
    lost: int = Field(0, description="Documents that damage has cost it; POST …/verify names them.")
    damage: str | None = Field(
        None, description="Why it cannot be served, or what damage the next call to its documents has mended."
    )
    recall: float | None = Field(
        description="Recall@10 of its index against exact search, as last measured; null: not measured."
    )


class CollectionsResponse(Body):
    """Every collection, by name."""

    collections: list[CollectionBody]


DocumentIdField = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARACTERS)]

VectorField = Annotated[
    Annotated[
        list[Annotated[float, Field(strict=True)]],
        Field(min_length=1, max_length=MAX_DIMENSIONS, fail_fast=True),
        Tag(NUMBERS_TAG),
    ]
    | Annotated[str, Field(min_length=1, max_length=MAX_DIMENSIONS * 6), Tag(BASE64_TAG)],
    Discriminator(lambda value: BASE64_TAG if isinstance(value, str) else NUMBERS_TAG),
]
"""Numbers, or base64 of little-endian float32."""


class NewDocumentBody(Body):
    """A document to write; one with the same id is replaced."""

    id: DocumentIdField | None = Field(None, description="Its id; one is made when left out.")
    text: str | None = Field(None, description="The text.")
    image: str | None = Field(None, description=IMAGE_DESCRIPTION)
    metadata: dict[str, JsonValue] = Field(
        default_factory=dict, description="Anything to return with it and to filter by."
    )
    vector: VectorField | None = Field(
        None,
        description="Its vector, where it was embedded elsewhere: unit length, as numbers or as base64 of "
        "little-endian float32. Every document of a call has one, or none has.",
    )

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.text is None and self.image is None:
            raise field_fault("text", "The document has neither text nor image.", "Give at least one.")
        return self


class DocumentsRequest(Body):
    """Documents to embed and write, all or none."""

    documents: list[NewDocumentBody] = Field(min_length=1, max_length=MAX_ITEMS)
    model: str | None = Field(
        None, description="With vectors: the checkpoint that made them, as the collection names its own."
    )

    @model_validator(mode="after")
    def _vectors_and_model(self) -> Self:
        vectors = sum(document.vector is not None for document in self.documents)
        if vectors not in (0, len(self.documents)):
            message = "Some documents have a vector and some have not."
            raise field_fault("documents", message, "Send them in two calls.")
        if vectors and self.model is None:
            raise field_fault("model", "Vectors came without it.", "Say which checkpoint made them.")
        if self.model is not None and not vectors:
            raise field_fault("model", "It says who made vectors, and there are none.", "Leave it out.")
        return self


class DocumentsResponse(Body):
    """What was written: it is on disk and searchable."""

    ids: list[str] = Field(description="In the order of the documents sent.")


class KnownDocumentBody(Body):
    """A document that the caller has."""

    id: DocumentIdField
    fingerprint: Annotated[str, Field(pattern="^[0-9a-f]{32}$")] = Field(
        description="BLAKE2b-128 of its text, image bytes and metadata; see service/fingerprint.py."
    )


class MissingRequest(Body):
    """Documents that the caller has."""

    documents: list[KnownDocumentBody] = Field(min_length=1, max_length=MAX_ITEMS)


class MissingResponse(Body):
    """Which of them the collection lacks, or holds with another content."""

    missing: list[str] = Field(description="Their ids, in the order sent.")


class DocumentBody(Body):
    """A document as it is stored."""

    id: str
    text: str | None
    image_url: str | None = Field(description="Path of its image on this server.")
    metadata: dict[str, JsonValue]
