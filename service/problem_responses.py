"""Problems as HTTP answers: RFC 9457 documents, and OpenAI's error bodies under /v1."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from service.problems import MEDIA_TYPE, Problem

OPENAI_PREFIX = "/v1/"


def problem_response(path: str, problem: Problem) -> Response:
    """The answer that tells a problem to a caller of `path`."""
    headers = dict(problem.headers)
    if path.startswith(OPENAI_PREFIX):
        return JSONResponse(problem.openai_document(), problem.kind.status, headers=headers)
    return JSONResponse(problem.document(), problem.kind.status, headers=headers, media_type=MEDIA_TYPE)
