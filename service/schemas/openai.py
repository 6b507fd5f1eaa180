"""OpenAI's embeddings API: the shapes that its clients send and expect."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from model.types import InputType, RouteChoice
from service.schemas.base import Body
from service.schemas.embed import check_route
from service.schemas.items import LIST_TAG, MAX_ITEMS, OBJECT_TAG, TEXT_TAG, TOKENS_TAG, ItemBody, ItemInput


def _kind_of_input(value: Any) -> str | None:
    if isinstance(value, str):
        return TEXT_TAG
    if isinstance(value, dict | ItemBody):
        return OBJECT_TAG
    if not isinstance(value, list):
        return None
    return TOKENS_TAG if value and isinstance(value[0], int | list) else LIST_TAG


OpenAIInput = Annotated[
    Annotated[str, Tag(TEXT_TAG)]
    | Annotated[ItemBody, Tag(OBJECT_TAG)]
    | Annotated[Annotated[list[ItemInput], Field(min_length=1, max_length=MAX_ITEMS)], Tag(LIST_TAG)]
    | Annotated[list[Any], Tag(TOKENS_TAG)],
    Discriminator(
        _kind_of_input,
        custom_error_type="input_kind",
        custom_error_message="The input is a string or a list of strings; here also {text, image} objects.",
    ),
]


class OpenAIEmbeddingRequest(Body):
    """OpenAI's request, with `input_type`, `route` and {text, image} items added."""

    input: OpenAIInput = Field(description="A string, or a list of strings or {text, image} objects.")
    model: str = Field(description="A name that `GET /v1/models` lists; `solomon` is always one of them.")
    encoding_format: Literal["float", "base64"] | None = Field(
        "float", description="How vectors are written; null is float."
    )
    dimensions: int | None = Field(None, ge=1, strict=True, description="Keep only the first dimensions.")
    user: str | None = Field(None, description="Accepted and ignored.")
    input_type: InputType = Field(InputType.QUERY, description="Not OpenAI's: query (routed) or document.")
    route: RouteChoice = Field(RouteChoice.AUTO, description="Not OpenAI's: who decides the route.")

    @model_validator(mode="after")
    def _documents_have_no_route(self) -> Self:
        check_route(self.input_type, self.route, "input_type")
        return self


class OpenAIEmbedding(Body):
    """One vector."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class OpenAIUsage(Body):
    """Tokens read; `total_tokens` adds those that were written."""

    prompt_tokens: int
    total_tokens: int


class OpenAIEmbeddingResponse(Body):
    """OpenAI's answer."""

    object: Literal["list"] = "list"
    data: list[OpenAIEmbedding]
    model: str
    usage: OpenAIUsage


class OpenAIModel(Body):
    """A served model."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="Unix seconds; when this server loaded it.")
    owned_by: str = "solomon"


class OpenAIModels(Body):
    """The served models."""

    object: Literal["list"] = "list"
    data: list[OpenAIModel]
