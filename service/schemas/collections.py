"""Collections and their documents."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, JsonValue, model_validator

from index.validation import MAX_ID_CHARACTERS
from service.schemas.base import Body
from service.schemas.items import IMAGE_DESCRIPTION, MAX_ITEMS


class CollectionRequest(Body):
    """Nothing can be set yet: the model that is served decides the dimensions."""


class CollectionBody(Body):
    """A collection."""

    name: str
    count: int = Field(description="Documents in it.")
    dimensions: int = Field(description="Length of its vectors.")
    index_kind: str = Field(description="How neighbours are found, e.g. flat or hnsw.")
    model: str = Field(description="The model that made its vectors.")


class CollectionsResponse(Body):
    """Every collection, by name."""

    collections: list[CollectionBody]


class NewDocumentBody(Body):
    """A document to write; one with the same id is replaced."""

    id: Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARACTERS)] | None = Field(
        None, description="Its id; one is made when left out."
    )
    text: str | None = Field(None, description="The text.")
    image: str | None = Field(None, description=IMAGE_DESCRIPTION)
    metadata: dict[str, JsonValue] = Field(
        default_factory=dict, description="Anything to return with it and to filter by."
    )

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.text is None and self.image is None:
            raise ValueError("A document needs a text or an image.")
        return self


class DocumentsRequest(Body):
    """Documents to embed and write, all or none."""

    documents: list[NewDocumentBody] = Field(min_length=1, max_length=MAX_ITEMS)


class DocumentsResponse(Body):
    """What was written: it is on disk and searchable."""

    ids: list[str] = Field(description="In the order of the documents sent.")


class DocumentBody(Body):
    """A document as it is stored."""

    id: str
    text: str | None
    image_url: str | None = Field(description="Path of its image on this server.")
    metadata: dict[str, JsonValue]
