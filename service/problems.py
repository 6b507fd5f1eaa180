"""RFC 9457 problem documents: the catalogue of what can go wrong, and the exception that carries one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One kind of problem; `uri` is stable, so that programs can tell kinds apart."""

    slug: str
    status: int
    title: str

    @property
    def uri(self) -> str:
        """The problem's `type` member, relative to the server."""
        return f"/problems/{self.slug}"


MALFORMED_BODY = ProblemType("malformed-body", 400, "The body is not valid JSON")
BAD_REQUEST = ProblemType("bad-request", 400, "The request cannot be understood")
UNAUTHENTICATED = ProblemType("unauthenticated", 401, "An API key is needed")
MISSING_SCOPE = ProblemType("missing-scope", 403, "The API key may not make this call")
FOREIGN_HOST = ProblemType("foreign-host", 403, "The server does not answer to this host name")
FOREIGN_ORIGIN = ProblemType("foreign-origin", 403, "The server takes no such calls from other pages")
NOT_FOUND = ProblemType("not-found", 404, "There is nothing at this address")
UNKNOWN_COLLECTION = ProblemType("unknown-collection", 404, "No collection has that name")
UNKNOWN_DOCUMENT = ProblemType("unknown-document", 404, "No document has that id")
UNKNOWN_MODEL = ProblemType("unknown-model", 404, "No such model is served")
METHOD_NOT_ALLOWED = ProblemType("method-not-allowed", 405, "The address does not answer this method")
BODY_TIMEOUT = ProblemType("body-timeout", 408, "The body did not arrive in time")
OTHER_MODEL = ProblemType("other-model", 409, "The collection was made by another model")
REBUILDING = ProblemType("rebuilding", 409, "The collection is being rebuilt")
COLLECTION_EXISTS = ProblemType("collection-exists", 409, "A collection has that name")
BODY_TOO_LARGE = ProblemType("body-too-large", 413, "The body is too large")
IMAGE_TOO_LARGE = ProblemType("image-too-large", 413, "An image is too large")
NOT_AN_IMAGE = ProblemType("not-an-image", 415, "What was given as an image is not one")
NOT_JSON = ProblemType("not-json", 415, "The body is not declared as JSON")
INVALID_INPUT = ProblemType("invalid-input", 422, "The input is not valid")
TOO_LONG = ProblemType("too-long", 422, "A text is too long")
RATE_LIMITED = ProblemType("rate-limited", 429, "The API key calls too often")
QUEUE_FULL = ProblemType("queue-full", 429, "The server is busy")
BODIES_FULL = ProblemType("bodies-full", 429, "The server holds too many bodies")
HEAD_TOO_LARGE = ProblemType("head-too-large", 431, "The address and the headers are too large")
INTERNAL = ProblemType("internal", 500, "The server failed")
UNUSABLE = ProblemType("unusable-collection", 500, "The collection cannot be served")
NOT_IN_FILES = ProblemType("not-in-files", 501, "The store does not keep its collections in files")
NOT_READY = ProblemType("not-ready", 503, "The server is not ready")
STORE_UNREACHABLE = ProblemType("store-unreachable", 503, "The store does not answer")
DEADLINE = ProblemType("deadline-exceeded", 504, "The answer was not ready in time")
STORAGE = ProblemType("storage-refused", 507, "The disk refused the write")

CATALOGUE: Mapping[str, ProblemType] = {
    kind.slug: kind for kind in tuple(globals().values()) if isinstance(kind, ProblemType)
}


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field at fault: its path in the request ("input[3].image"), what is wrong, how to mend it."""

    field: str
    message: str
    mend: str | None = None

    def as_dict(self) -> dict[str, str]:
        """The error's JSON members; `mend` only where there is one."""
        members = {"field": self.field, "message": self.message}
        if self.mend is not None:
            members["mend"] = self.mend
        return members


@dataclass(eq=False)
class Problem(Exception):
    """Raised anywhere below the routers; the error handlers turn it into a document.

    `headers` go out with it (Retry-After, WWW-Authenticate). `detail` is for a person to read.
    """

    kind: ProblemType
    detail: str
    errors: Sequence[FieldError] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.detail

    def document(self) -> dict[str, Any]:
        """The RFC 9457 members of this problem."""
        members: dict[str, Any] = {
            "type": self.kind.uri,
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
        }
        if self.errors:
            members["errors"] = [error.as_dict() for error in self.errors]
        return members

    def openai_document(self) -> dict[str, Any]:
        """The same problem in the error body that OpenAI's clients expect."""
        return {
            "error": {
                "message": self.detail,
                "type": _openai_type(self.kind.status),
                "param": self.errors[0].field if self.errors else None,
                "code": "model_not_found" if self.kind is UNKNOWN_MODEL else self.kind.slug.replace("-", "_"),
            }
        }


def _openai_type(status: int) -> str:
    if status in (401, 403):
        return "authentication_error"
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"


def field_problem(kind: ProblemType, field: str, message: str, mend: str | None = None) -> Problem:
    """A problem with a single field at fault; its detail names the field."""
    detail = f"{field}: {message}" + (f" {mend}" if mend else "")
    return Problem(kind, detail, (FieldError(field, message, mend),))
