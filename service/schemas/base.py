"""What every body shares: unknown fields are refused, numbers are finite."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Body(BaseModel):
    """Base of request and response bodies."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=())
