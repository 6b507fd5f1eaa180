"""What becomes of a refused call: it is counted, its log line names the problem, the caller is told."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Scope

from service.metrics import Metrics
from service.middleware.access_log import count
from service.problem_responses import problem_response
from service.problems import Problem


def refusal(scope: Scope, metrics: Metrics, problem: Problem) -> Response:
    """Count a refused call by the problem's kind, in the metrics and in the call's log line; its answer."""
    metrics.on_rejected(problem.kind.slug)
    return told(scope, problem)


def told(scope: Scope, problem: Problem) -> Response:
    """The answer that tells a problem, whose kind the call's log line has as `problem`."""
    count(scope, problem=problem.kind.slug)
    return problem_response(scope["path"], problem)
