"""Rebuilds of collections."""

from __future__ import annotations

from pydantic import Field

from service.rebuilding import RebuildState
from service.schemas.base import Body


class RebuildRequest(Body):
    """How to rebuild."""

    drop_failed: bool = Field(
        False, description="Lose the documents that the served checkpoint cannot embed, rather than fail."
    )


class FailedDocumentBody(Body):
    """A document that the served checkpoint cannot embed."""

    id: str
    reason: str


class RebuildBody(Body):
    """Where a rebuild stands."""

    collection: str
    state: RebuildState = Field(description="A stopped or failed one goes on when it is begun again.")
    made_by: str = Field(description="The checkpoint of the collection's vectors when it began.")
    model: str = Field(description="The checkpoint that embeds them again.")
    total: int = Field(description="Documents of the collection.")
    done: int = Field(description="Documents that are embedded again.")
    resumed: int = Field(description="Those of them that an earlier rebuild had done.")
    failed: int = Field(description="Documents that cannot be embedded.")
    failures: list[FailedDocumentBody] = Field(description="The first of those.")
    reason: str | None = Field(description="Why it failed.")
    seconds: float = Field(description="How long it has run, or ran.")
