"""The OpenAPI document, with errors described as what they are: problem documents."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from service.auth.scopes import KEYLESS_PATHS
from service.problem_responses import OPENAI_PREFIX
from service.problems import MEDIA_TYPE

_PROBLEM = {"$ref": "#/components/schemas/ProblemBody"}
_FASTAPI_SCHEMAS = ("HTTPValidationError", "ValidationError")
_UNDOCUMENTED = {"description": "A field is not valid; `errors` names it and the mend."}


def use_problem_documents(app: FastAPI, *, needs_key: bool) -> None:
    """Replace FastAPI's own error schemas in the application's OpenAPI document, once it is asked for.

    With `needs_key` it also says which calls take an API key and how.
    """
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            for path, calls in document["paths"].items():
                for call in calls.values():
                    _describe_errors(path, call["responses"])
            for name in _FASTAPI_SCHEMAS:
                document["components"]["schemas"].pop(name, None)
            if needs_key:
                _describe_key(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def _describe_key(document: dict[str, Any]) -> None:
    document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"key": []}]
    for path in KEYLESS_PATHS & document["paths"].keys():
        for call in document["paths"][path].values():
            call["security"] = []


def _describe_errors(path: str, responses: dict[str, Any]) -> None:
    for status, response in responses.items():
        if status[0] not in "45":
            continue
        if path.startswith(OPENAI_PREFIX):
            responses[status] = {"description": "OpenAI's error body.", "content": {"application/json": {}}}
            continue
        if response.get("description") == "Validation Error":
            response.update(_UNDOCUMENTED)
        response["content"] = {MEDIA_TYPE: {"schema": _PROBLEM}}
