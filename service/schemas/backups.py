"""What the disk holds of a collection: verifying it."""

from __future__ import annotations

from pydantic import Field

from service.schemas.base import Body


class LossBody(Body):
    """What damage has cost a collection."""

    id: str | None = Field(description="The lost document; null where its id was lost as well.")
    reason: str
    noticed: str = Field(description="When, in ISO 8601.")
    documents: int = Field(description="How many documents this stands for, at most.")


class VerificationBody(Body):
    """What reading all that the disk holds of a collection has found."""

    name: str
    documents: int = Field(description="Documents in it when the reading began.")
    damage: list[str] = Field(description="What is damaged, in words; empty if nothing is.")
    losses: list[LossBody] = Field(
        description="What earlier damage has cost, as far as it was not written again since."
    )
