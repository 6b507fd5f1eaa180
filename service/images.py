"""Image references of requests to encoded bytes: data URIs here, URLs through `service.image_urls`."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Protocol

import anyio.to_thread

from model.errors import ImageTooLarge, InputError, NotAnImage

_HEADER = re.compile(r"data:(?P<type>[^;,]*)(?P<parameters>[^,]*),", re.IGNORECASE)
_HEADER_CHARACTERS = 256
_URL_SAFE = str.maketrans("-_", "+/")
_WHITESPACE = {ord(character): None for character in " \t\r\n"}

# The first bytes of each accepted format, and the offset at which the mark stands.
_SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
)


class UrlFetcher(Protocol):
    """Fetches an https image; `service.image_urls.ImageFetcher` is the implementation."""

    async def fetch(self, url: str) -> bytes:
        """The encoded image. Raises `InputError`."""


def media_type(data: bytes) -> str:
    """The media type of an encoded image by its first bytes, whatever its sender claimed.

    Raises `NotAnImage` for anything but JPEG, PNG, WebP and GIF.
    """
    for offset, mark, name in _SIGNATURES:
        if data[offset : offset + len(mark)] == mark:
            return name
    raise NotAnImage(
        "image", "format", "The image is not a JPEG, PNG, WebP or GIF.", "Convert it to one of these."
    )


def decode_data_uri(uri: str, max_bytes: int) -> bytes:
    """The bytes of a base64 data URI.

    Raises `NotAnImage` if it declares something else than an image, `ImageTooLarge` beyond `max_bytes`
    (before decoding), `InputError` if it is malformed.
    """
    header = _HEADER.match(uri[:_HEADER_CHARACTERS])
    if header is None or not header["parameters"].lower().endswith(";base64"):
        raise InputError(
            "image",
            "data_uri",
            "The data URI is malformed.",
            "Write 'data:image/png;base64,' and then base64.",
        )
    declared = header["type"].strip().lower()
    if not declared.startswith("image/"):
        raise NotAnImage(
            "image",
            "media_type",
            f"The data URI holds {declared or 'text/plain'}, not an image.",
            "Send a JPEG, PNG, WebP or GIF, as 'data:image/png;base64,' and then base64.",
        )
    if (len(uri) - header.end()) * 3 // 4 > max_bytes * 1.05:
        raise _too_large(max_bytes)
    try:
        data = _from_base64(uri[header.end() :].translate(_WHITESPACE))
    except (binascii.Error, ValueError):
        message = "The data URI's base64 is malformed or cut short."
        mend = "Encode the whole file in base64."
        raise InputError("image", "base64", message, mend) from None
    if len(data) > max_bytes:
        raise _too_large(max_bytes)
    if not data:
        raise NotAnImage("image", "empty", "The data URI holds no bytes.", "Encode the image file into it.")
    return data


def _from_base64(text: str) -> bytes:
    """Base64 of either alphabet, padded or not, as browsers and URL-safe encoders write it."""
    standard = text.translate(_URL_SAFE).rstrip("=")
    return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)


def _too_large(max_bytes: int) -> ImageTooLarge:
    return ImageTooLarge(
        "image", "bytes", f"The image is larger than {max_bytes} bytes.", "Send a smaller one."
    )


class ImageResolver:
    """Turns the `image` of an item into bytes, within the server's limits."""

    def __init__(self, urls: UrlFetcher, max_bytes: int) -> None:
        self._urls = urls
        self._max_bytes = max_bytes

    async def resolve(self, reference: str) -> bytes:
        """The encoded image behind a data URI or an https URL. Raises `InputError`."""
        scheme = reference[:8].lower()
        if scheme.startswith("data:"):
            # Tens of megabytes take long enough to hold up every other call.
            return await anyio.to_thread.run_sync(decode_data_uri, reference, self._max_bytes)
        if scheme.startswith(("https:", "http:")):
            return await self._urls.fetch(reference)
        message = "An image is neither a data URI nor an https URL."
        raise InputError("image", "reference", message, "Send 'data:image/png;base64,' and then base64.")
