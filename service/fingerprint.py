"""What a document holds, in sixteen bytes.

The client of a bulk job and the server compute it alike, from the content alone: so whatever a collection
already holds is recognised, however it came there, and is neither sent nor embedded again. Nothing is
stored for it, hence nothing can be out of date.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

CHARACTERS = 32


def fingerprint(text: str | None, image: bytes | None, metadata: Mapping[str, Any]) -> str:
    """BLAKE2b-128 of a text, an encoded image and metadata, as hexadecimal digits.

    The order of the metadata's names does not count. Texts and metadata must be encodable as UTF-8.
    """
    digest = blake2b(digest_size=CHARACTERS // 2)
    encoded = json.dumps(dict(metadata), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    for part in (None if text is None else text.encode(), image, encoded.encode()):
        if part is None:
            digest.update(b"-")
            continue
        digest.update(b"+" + len(part).to_bytes(8, "little"))  # so that parts cannot run into each other
        digest.update(part)
    return digest.hexdigest()


def content_id(
    text: str | None, image: bytes | None, image_url: str | None, metadata: Mapping[str, Any]
) -> str:
    """An id that follows from a document's content, so that adding the same one again adds nothing."""
    named = metadata if image_url is None else {**metadata, "$image": image_url}
    return f"content-{fingerprint(text, image, named)}"
