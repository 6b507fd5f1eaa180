"""`POST /search`."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, JsonValue, model_validator

from index.validation import MAX_DIMENSIONS, MAX_K
from model.types import Route, RouteChoice
from service.schemas.base import Body, field_fault
from service.schemas.embed import RoutingBody
from service.schemas.items import ItemInput

_ROUTING_FIELDS = ("route", "instruction", "augment_threshold", "max_augment_tokens")

_EITHER = {
    True: ("Neither a query nor a vector was sent.", "Send a query, or a vector in its place."),
    False: ("A query and a vector were sent.", "Send one of them."),
}

VectorInput = Annotated[
    list[Annotated[float, Field(strict=True)]], Field(min_length=1, max_length=MAX_DIMENSIONS, fail_fast=True)
]


class SearchRequest(RoutingBody):
    """A query (or a vector) and where to look."""

    query: ItemInput | None = Field(None, description="A string or {text, image}.")
    vector: VectorInput | None = Field(
        None, description="A vector of the collection's dimensions, instead of a query."
    )
    collection: str = Field("default", min_length=1, description="The collection to search.")
    k: int = Field(10, ge=1, le=MAX_K, strict=True, description="How many results to return at most.")
    filter: dict[str, Any] | None = Field(
        None,
        min_length=1,
        description=(
            'Metadata to match: `{"kind": "emoji"}` is equality, `{"year": {"gte": 2000}}` a range. '
            "All conditions must hold."
        ),
    )

    @model_validator(mode="after")
    def _query_or_vector(self) -> Self:
        if (self.query is None) == (self.vector is None):
            raise field_fault("query", *_EITHER[self.query is None])
        if self.vector is not None:
            for name in _ROUTING_FIELDS:
                if name in self.model_fields_set and getattr(self, name) not in (None, RouteChoice.AUTO):
                    raise field_fault(
                        name, "A vector is searched as it is.", "Leave it out, or send a query."
                    )
        return self


class ResultBody(Body):
    """A document that was found."""

    id: str
    score: float = Field(description="Cosine similarity with the query, 1 at best.")
    text: str | None
    image_url: str | None = Field(description="Path of the document's image on this server.")
    metadata: dict[str, JsonValue]


class SearchLatency(Body):
    """Milliseconds of each stage."""

    queue: float = Field(description="Of `embed`: waiting until the model began; 0 for a search by vector.")
    embed: float = Field(description="Embedding the query, the wait included; 0 for a search by vector.")
    index: float = Field(description="Finding its neighbours.")
    total: float = Field(description="The whole call.")


class SearchResponse(Body):
    """The neighbours, best first, and how the query was embedded."""

    results: list[ResultBody]
    route: Route | None = Field(description="The route that was taken; null for a search by vector.")
    confidence: float | None
    augmentation: str | None
    latency_ms: SearchLatency
