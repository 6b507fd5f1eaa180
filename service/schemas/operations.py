"""Information, health and the documents that errors come as."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from service.schemas.base import Body


class ModelBody(Body):
    """The model that is served."""

    name: str
    base_model: str
    base_revision: str
    checkpoint_sha256: str
    pooling: str
    device: str
    dtype: str


class LimitsBody(Body):
    """What a call may ask for."""

    max_items: int
    max_prompt_tokens: int
    max_augment_tokens: int = Field(description="The most that `max_augment_tokens` may say.")
    max_body_bytes: int
    max_image_bytes: int
    max_image_pixels: int
    max_image_side: int
    max_queue: int
    max_k: int
    request_timeout_seconds: float
    image_url_hosts: list[str]


class InfoResponse(Body):
    """Checkpoint, dimensions, limits and threshold."""

    version: str
    model: ModelBody
    dimensions: int
    augment_threshold: float
    default_augment_tokens: int = Field(description="Most tokens of an answer whose call does not say.")
    limits: LimitsBody


class HealthResponse(Body):
    """The process lives."""

    status: Literal["ok"] = "ok"


class ReadyResponse(Body):
    """Model loaded, index caught up."""

    status: Literal["ready"] = "ready"


class FieldErrorBody(Body):
    """One field at fault."""

    field: str = Field(description="Where in the request, e.g. `input[3].image`.")
    message: str = Field(description="What is wrong with it.")
    mend: str | None = Field(None, description="What to send instead.")


class ProblemBody(Body):
    """An RFC 9457 problem document."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="The kind of problem; stable, for programs.")
    title: str
    status: int
    detail: str = Field(description="For people: what went wrong and how to mend it.")
    errors: list[FieldErrorBody] | None = Field(None, description="The fields at fault.")


class ProblemTypeBody(Body):
    """A kind of problem."""

    type: str
    title: str
    status: int
