"""What a call's log line says of the items that it embedded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fastapi import Request

from model.types import Embedding
from service.embedding import RequestItem
from service.middleware.access_log import count
from service.runtime import Runtime

_SHOWN_ITEMS = 16
_SHOWN_CHARACTERS = 1000
MIXED = "mixed"


def log_embeddings(
    request: Request, runtime: Runtime, items: Sequence[RequestItem], embeddings: Sequence[Embedding]
) -> None:
    """Note routes, the least confidence, tokens and the longest times; texts only if the settings ask."""
    confidences = [embedding.confidence for embedding in embeddings if embedding.confidence is not None]
    count(
        request.scope,
        items=len(embeddings),
        route=_route(embeddings),
        confidence=round(min(confidences), 4) if confidences else None,
        prompt_tokens=sum(embedding.prompt_tokens for embedding in embeddings),
        image_tokens=sum(embedding.image_tokens for embedding in embeddings),
        augment_tokens=sum(embedding.augment_tokens for embedding in embeddings),
        queue_ms=_longest(embedding.queue_seconds for embedding in embeddings),
        compute_ms=_longest(embedding.compute_seconds for embedding in embeddings),
    )
    if runtime.settings.log_content:
        count(
            request.scope,
            texts=[_shown(item.text) for item in items[:_SHOWN_ITEMS]],
            augmentations=[_shown(embedding.augmentation) for embedding in embeddings[:_SHOWN_ITEMS]],
        )


def _route(embeddings: Sequence[Embedding]) -> str | None:
    """The route that all took, "mixed", or None for documents."""
    routes = {embedding.route.value for embedding in embeddings if embedding.route is not None}
    return MIXED if len(routes) > 1 else next(iter(routes), None)


def _longest(seconds: Iterable[float]) -> float:
    return round(max(seconds, default=0.0) * 1000, 2)


def _shown(text: str | None) -> str | None:
    return text if text is None or len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
