"""Text Embeddings Inference's `/embed`: the shape that its users send there."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from model.types import InputType, RouteChoice
from service.schemas.base import Body, field_fault
from service.schemas.embed import EmbedRequest, check_route
from service.schemas.items import LIST_TAG, MAX_ITEMS, TEXT_TAG

OWN_TAG = "<own>"
TEI_TAG = "<tei>"

# Which side of retrieval a prompt's name stands for, as the models that TEI serves name them.
_SIDES = {
    "query": InputType.QUERY,
    "document": InputType.DOCUMENT,
    "passage": InputType.DOCUMENT,
    "corpus": InputType.DOCUMENT,
}

TeiInputs = Annotated[
    Annotated[str, Tag(TEXT_TAG)]
    | Annotated[Annotated[list[str], Field(min_length=1, max_length=MAX_ITEMS)], Tag(LIST_TAG)],
    Discriminator(
        lambda value: LIST_TAG if isinstance(value, list) else TEXT_TAG if isinstance(value, str) else None,
        custom_error_type="input_kind",
        custom_error_message="The inputs are a string or a list of strings.",
    ),
]


class TeiEmbedRequest(Body):
    """TEI's request, with `route` added; it is answered with a bare list of vectors."""

    inputs: TeiInputs = Field(description="A text or a list of texts.")
    normalize: bool | None = Field(True, description="Vectors always have unit length; false is refused.")
    truncate: bool | None = Field(False, description="Cut a text that is too long instead of refusing it.")
    truncation_direction: Literal["Right", "right"] | None = Field(
        None, description="Texts are cut at their end only."
    )
    prompt_name: str | None = Field(
        None,
        description="`query` (when left out: routed), or `document`, `passage` or `corpus` (pooled at once).",
    )
    dimensions: int | None = Field(None, ge=1, strict=True, description="Keep only the first dimensions.")
    route: RouteChoice = Field(RouteChoice.AUTO, description="Not TEI's: who decides the route of queries.")

    @field_validator("normalize")
    @classmethod
    def _unit_length(cls, value: bool | None) -> bool | None:
        if value is False:
            raise field_fault("", "Vectors always have unit length.", "Leave normalize out, or send true.")
        return value

    @field_validator("prompt_name")
    @classmethod
    def _known_prompt(cls, value: str | None) -> str | None:
        if value is not None and value not in _SIDES:
            raise field_fault("", "There is no such prompt.", f"Use one of {', '.join(_SIDES)}, or none.")
        return value

    @model_validator(mode="after")
    def _documents_have_no_route(self) -> Self:
        check_route(self.input_type, self.route, "prompt_name")
        return self

    @property
    def input_type(self) -> InputType:
        """Which side of retrieval the inputs stand on."""
        return _SIDES[self.prompt_name] if self.prompt_name is not None else InputType.QUERY


def _whose(value: Any) -> str:
    names_inputs = isinstance(value, TeiEmbedRequest) or (isinstance(value, dict) and "inputs" in value)
    return TEI_TAG if names_inputs and not (isinstance(value, dict) and "input" in value) else OWN_TAG


AnyEmbedRequest = Annotated[
    Annotated[EmbedRequest, Tag(OWN_TAG)] | Annotated[TeiEmbedRequest, Tag(TEI_TAG)],
    Discriminator(_whose),
]
"""Ours, or TEI's where the body names `inputs`."""
