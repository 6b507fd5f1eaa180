"""Exception handlers: everything that the routers raise leaves as a problem document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from index.log_names import logged_error
from index.types import StoreError
from model.errors import SolomonError
from service import problems
from service.connection import CLIENT_CLOSED_REQUEST, ClientGone
from service.mapping import model_problem, store_problem
from service.metrics import Metrics
from service.middleware.body_limit import BodyRefused
from service.problems import FieldError, Problem
from service.refusals import refusal, told

_MAX_ERRORS = 20
_PROBES = frozenset({"/healthz", "/readyz"})
_log = structlog.get_logger("solomon.failures")

_MENDS: Mapping[str, str] = {
    "missing": "Add it.",
    "extra_forbidden": "Remove it; /docs lists the fields of this call.",
    "string_type": "Send a string.",
    "int_type": "Send a whole number.",
    "int_parsing": "Send a whole number.",
    "int_from_float": "Send a whole number.",
    "float_type": "Send a number.",
    "float_parsing": "Send a number.",
    "finite_number": "Send a finite number.",
    "bool_type": "Send true or false.",
    "bool_parsing": "Send true or false.",
    "list_type": "Send a list.",
    "dict_type": "Send an object.",
    "too_short": "Send at least one, or leave the field out where it is optional.",
    "too_long": "Send fewer; GET /info tells the limits.",
    "too_many_names": "Remove what /docs does not list.",
    "string_too_short": "Send at least one character.",
    "string_too_long": "Shorten it.",
    "string_unicode": "Send well-formed Unicode text.",
    "item_kind": "Send a string or {text, image}.",
    "input_kind": "Send a string, an object or a list of them.",
}


# Where pydantic keeps a bound, and how it is said.
_BOUNDS: Mapping[str, tuple[str, str]] = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}


def field_path(location: Sequence[int | str]) -> str:
    """A pydantic location as an address in the request: ("body", "input", "<list>", 3) is input[3]."""
    path = ""
    for part in location[1:] if location and location[0] in ("body", "query", "path") else location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not part.startswith("<"):  # tags of unions, see service.schemas.items
            path += f".{part}" if path else part
    return path or "body"


def _message(error: Mapping[str, Any]) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    return message if message.endswith(".") else f"{message}."


def _field_error(entry: Mapping[str, Any]) -> FieldError:
    if entry["type"] == "field_fault":  # of a validator of ours, see service.schemas.base
        fault = entry["ctx"]
        place = (*entry["loc"], fault["field"]) if fault["field"] else entry["loc"]
        return FieldError(field_path(place), fault["message"], fault["mend"])
    return FieldError(field_path(entry["loc"]), _message(entry), _mend(entry))


def _mend(entry: Mapping[str, Any]) -> str:
    limits = entry.get("ctx", {})
    if entry["type"] in _BOUNDS:
        bound, word = _BOUNDS[entry["type"]]
        return f"Send {word} {limits[bound]}."
    if entry["type"] in ("enum", "literal_error"):
        return f"Send {limits['expected']}."
    return _MENDS.get(entry["type"], "GET /docs shows the fields of this call.")


def validation_problem(error: RequestValidationError) -> Problem:
    """Name each field at fault and its mend; what was sent is not repeated."""
    found = error.errors()
    if any(entry["type"] == "json_invalid" for entry in found):
        where = found[0]["loc"][-1]
        reason = found[0].get("ctx", {}).get("error", "not JSON")
        return Problem(problems.MALFORMED_BODY, f"The body is not valid JSON at character {where}: {reason}.")
    if isinstance(error.body, bytes) and error.body:
        detail = "Send JSON with the header 'Content-Type: application/json'."
        return Problem(problems.NOT_JSON, detail)
    fields = [_field_error(entry) for entry in found[:_MAX_ERRORS]]
    parts = [f"{field.field}: {field.message}" + (f" {field.mend}" if field.mend else "") for field in fields]
    return Problem(problems.INVALID_INPUT, " ".join(parts), fields)


def http_problem(request: Request, error: HTTPException) -> Problem:
    """Tell Starlette's own errors: unknown routes, wrong methods, bodies that cannot be read."""
    if isinstance(error, BodyRefused):
        return error.problem
    headers = dict(error.headers or {})
    if error.status_code == 404:
        return Problem(problems.NOT_FOUND, f"Nothing is at {request.scope['path']}; /docs lists the calls.")
    if error.status_code == 405:
        allowed = headers.get("Allow") or headers.get("allow") or "another method"
        detail = f"{request.method} is not answered here. Use {allowed}."
        return Problem(problems.METHOD_NOT_ALLOWED, detail, headers=headers)
    if error.status_code >= 500:
        return Problem(problems.INTERNAL, "The server failed.", headers=headers)
    if error.status_code == 400:
        return Problem(problems.MALFORMED_BODY, _unreadable(error.__cause__), headers=headers)
    return Problem(problems.BAD_REQUEST, f"{error.detail}.".replace("..", "."), headers=headers)


def _unreadable(cause: BaseException | None) -> str:
    """Why a body that FastAPI gave up on is no JSON for this server."""
    if isinstance(cause, RecursionError):
        return "The body's JSON is nested too deeply. Send what /docs shows for this call."
    if isinstance(cause, ValueError) and "integer string conversion" in str(cause):
        return "The body's JSON holds a number of thousands of digits. Send a shorter one."
    return "The body cannot be read as JSON in UTF-8. Encode it as UTF-8."


def add_error_handlers(app: FastAPI, metrics: Metrics) -> None:
    """Register a handler for each family of errors; each refusal is counted."""

    def answer(request: Request, problem: Problem) -> Response:
        # A probe that is told "not ready" has its answer. While a server opens there are many.
        if problem.kind is not problems.NOT_READY or request.scope["path"] not in _PROBES:
            return refusal(request.scope, metrics, problem)
        return told(request.scope, problem)

    async def on_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)  # noqa: S101 - narrows Starlette's handler type
        return answer(request, error)

    async def on_model_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, SolomonError)  # noqa: S101
        problem = model_problem(error)
        _log_server_fault(problem, error)
        return answer(request, problem)

    async def on_store_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, StoreError)  # noqa: S101
        problem = store_problem(error)
        _log_server_fault(problem, error)
        return answer(request, problem)

    async def on_validation_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        return answer(request, validation_problem(error))

    async def on_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101
        return answer(request, http_problem(request, error))

    async def on_client_gone(request: Request, error: Exception) -> Response:
        return Response(status_code=CLIENT_CLOSED_REQUEST)

    app.add_exception_handler(ClientGone, on_client_gone)
    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(SolomonError, on_model_error)
    app.add_exception_handler(StoreError, on_store_error)
    app.add_exception_handler(RequestValidationError, on_validation_error)
    app.add_exception_handler(HTTPException, on_http_error)


def _log_server_fault(problem: Problem, error: Exception) -> None:
    if problem.kind.status in (500, 507) or problem.kind is problems.STORE_UNREACHABLE:
        _log.error("refused by a fault of the server", kind=problem.kind.slug, error=logged_error(error))
