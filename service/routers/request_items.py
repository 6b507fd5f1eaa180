"""The items of a body as what is embedded, each with its address in the request."""

from __future__ import annotations

from collections.abc import Sequence

from service.embedding import RequestItem
from service.schemas.items import ItemBody


def request_item(value: str | ItemBody, address: str) -> RequestItem:
    """One item of a body, which stands at `address`."""
    if isinstance(value, str):
        return RequestItem(address, value, bare=True)
    return RequestItem(address, value.text, value.image)


def request_items(value: str | ItemBody | Sequence[str | ItemBody], field: str) -> list[RequestItem]:
    """A field that holds one item or a list of them: at "input", or at "input[3]" in a list."""
    if not isinstance(value, str | ItemBody):
        return [request_item(item, f"{field}[{index}]") for index, item in enumerate(value)]
    return [request_item(value, field)]
