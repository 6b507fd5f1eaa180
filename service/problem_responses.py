"""Problems as HTTP answers: RFC 9457 documents, and OpenAI's error bodies under /v1."""

from __future__ import annotations

import json
from typing import Any

from starlette.responses import JSONResponse, Response

from service.problems import MEDIA_TYPE, Problem

OPENAI_PREFIX = "/v1/"


class ProblemResponse(JSONResponse):
    """JSON that can always be sent: half a surrogate pair of a name that is repeated becomes "?"."""

    def render(self, content: Any) -> bytes:
        """The body."""
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode("utf-8", "replace")


def problem_response(path: str, problem: Problem) -> Response:
    """The answer that tells a problem to a caller of `path`."""
    headers = dict(problem.headers)
    if path.startswith(OPENAI_PREFIX):
        return ProblemResponse(problem.openai_document(), problem.kind.status, headers=headers)
    return ProblemResponse(problem.document(), problem.kind.status, headers=headers, media_type=MEDIA_TYPE)
