"""What every body shares: unknown fields are refused, numbers are finite."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

_MAX_UNKNOWN = 16


def field_fault(field: str, message: str, mend: str) -> PydanticCustomError:
    """What a validator raises: the field at fault below the validated one ("": that itself), and the mend."""
    return PydanticCustomError(
        "field_fault", "{message} {mend}", {"field": field, "message": message, "mend": mend}
    )


class Body(BaseModel):
    """Base of request and response bodies."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _few_names(cls, given: Any) -> Any:
        # Each unknown name becomes an error with its place: a body of millions of them would fill the memory.
        if isinstance(given, dict) and len(given) > len(cls.model_fields) + _MAX_UNKNOWN:
            raise PydanticCustomError(
                "too_many_names", "An object with {count} fields was sent.", {"count": len(given)}
            )
        return given
