"""`POST /embed`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from model.types import InputType, Route, RouteChoice
from service.schemas.base import Body, field_fault
from service.schemas.items import ItemsInput


class RoutingBody(Body):
    """Who decides between /embed and /augment, and how much may be written."""

    instruction: str | None = Field(
        None, max_length=4096, description="What to look for; the checkpoint's own default when left out."
    )
    route: RouteChoice = Field(
        RouteChoice.AUTO,
        description="`auto`: the model decides. `embed`: pool at once. `augment`: write an answer first.",
    )
    augment_threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        strict=True,
        description="Augment when P(/augment) is at least this; the checkpoint's threshold when left out.",
    )
    max_augment_tokens: int | None = Field(
        None,
        ge=1,
        strict=True,
        description="Most tokens of the written answer; /info tells the default and the limit.",
    )


def check_route(input_type: InputType, route: RouteChoice, kind_field: str) -> None:
    """Refuse to augment documents; `kind_field` is the field that makes the inputs queries."""
    if input_type is InputType.DOCUMENT and route is RouteChoice.AUGMENT:
        mend = f"Leave route out, or set {kind_field} to query."
        raise field_fault("route", "Documents are never augmented.", mend)


class EmbedRequest(RoutingBody):
    """Items to embed and how."""

    input: ItemsInput = Field(description="One item or a list of them. An item is a string or {text, image}.")
    input_type: InputType = Field(
        InputType.QUERY, description="Queries are routed; documents are pooled directly."
    )
    dimensions: int | None = Field(
        None, ge=1, strict=True, description="Keep only the first dimensions and scale to unit length again."
    )
    truncate: bool = Field(
        False, strict=True, description="Cut a text that is too long instead of refusing it."
    )
    encoding_format: Literal["float", "base64"] = Field(
        "float", description="`float`: JSON numbers. `base64`: little-endian float32 bytes."
    )

    @model_validator(mode="after")
    def _documents_have_no_route(self) -> Self:
        check_route(self.input_type, self.route, "input_type")
        return self


class EmbeddingBody(Body):
    """One item's vector and how it came about; the route's fields are null for documents."""

    index: int = Field(description="The item's position in the input.")
    embedding: list[float] | str = Field(description="Unit-length vector, as floats or base64.")
    route: Route | None = Field(description="The route that was taken.")
    confidence: float | None = Field(
        description="Probability that the model gives to that route, between the two routes."
    )
    augmentation: str | None = Field(description="The answer that was written before pooling.")
    augment_tokens: int = Field(description="Tokens of that answer.")


class EmbedUsage(Body):
    """Tokens that the model read and wrote for the whole call."""

    prompt_tokens: int = Field(description="Tokens read, those of images included.")
    image_tokens: int = Field(description="Of these, tokens of images.")
    augment_tokens: int = Field(description="Tokens written.")


class EmbedResponse(Body):
    """The vectors, in the input's order."""

    model: str
    dimensions: int
    data: list[EmbeddingBody]
    usage: EmbedUsage
    latency_ms: float = Field(description="Milliseconds from the request's arrival to its answer.")
