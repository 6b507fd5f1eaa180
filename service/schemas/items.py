"""What can be embedded: a string, or an object of text and image."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Discriminator, Field, Tag, model_validator

from service.schemas.base import Body, field_fault

# Tags of the unions below. They turn up in pydantic's error locations; the "<" tells them from fields.
TEXT_TAG = "<text>"
OBJECT_TAG = "<object>"
LIST_TAG = "<list>"
TOKENS_TAG = "<tokens>"
NUMBERS_TAG = "<numbers>"
BASE64_TAG = "<base64>"

MAX_ITEMS = 4096  # the most that a server can be set to take; checked before the items are

IMAGE_DESCRIPTION = (
    "A data URI (`data:image/png;base64,...`; JPEG, PNG, WebP or GIF), or an `https:` URL on a host that the "
    "server was told to allow (none by default)."
)


class ItemBody(Body):
    """Text, an image, or both together."""

    text: str | None = Field(None, description="The text.")
    image: str | None = Field(None, description=IMAGE_DESCRIPTION)

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.text is None and self.image is None:
            raise field_fault("text", "The item has neither text nor image.", "Give at least one.")
        return self


def _kind_of_item(value: Any) -> str | None:
    if isinstance(value, str):
        return TEXT_TAG
    return OBJECT_TAG if isinstance(value, dict | ItemBody) else None


def _kind_of_input(value: Any) -> str | None:
    return LIST_TAG if isinstance(value, list | tuple) else _kind_of_item(value)


ItemInput = Annotated[
    Annotated[str, Tag(TEXT_TAG)] | Annotated[ItemBody, Tag(OBJECT_TAG)],
    Discriminator(
        _kind_of_item,
        custom_error_type="item_kind",
        custom_error_message="An item is a string or an object {text, image}.",
    ),
]
"""One item."""

ItemsInput = Annotated[
    Annotated[str, Tag(TEXT_TAG)]
    | Annotated[ItemBody, Tag(OBJECT_TAG)]
    | Annotated[Annotated[list[ItemInput], Field(min_length=1, max_length=MAX_ITEMS)], Tag(LIST_TAG)],
    Discriminator(
        _kind_of_input,
        custom_error_type="input_kind",
        custom_error_message="The input is a string, an object {text, image}, or a list of them.",
    ),
]
"""One item or a list of them."""
