"""Calls that schemathesis makes of the server's own OpenAPI document, valid and not: none may end in 5xx."""

from __future__ import annotations

import itertools
from collections import Counter
from contextlib import suppress
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from benchmarks.faults.report import Report
from benchmarks.faults.target import CLIENT_SECONDS, Target

_SHOWN = 20
_COLLECTION = "faults"

schemathesis.serializer.alias("application/vnd.sqlite3", "application/octet-stream")


def fuzz(target: Target, examples: int) -> Report:
    """`examples` valid and as many invalid calls of each operation."""
    report = Report("fuzz")
    statuses: Counter[int] = Counter()
    failures: list[str] = []
    schema = schemathesis.openapi.from_url(f"{target.url}/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations()]
    for operation in operations:
        target.collection()  # an earlier call may have dropped it
        for mode in GenerationMode:
            with suppress(Unsatisfiable):  # a call without parameters has no invalid form
                _call(operation, mode, examples, statuses, failures)
    with target.client() as client:
        ready = client.get("/readyz").status_code == 200
    report.figures = {
        "operations": len(operations),
        "calls": sum(statuses.values()),
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "failures": failures[:_SHOWN],
    }
    report.expect(not failures, "no call ends in 5xx")
    report.expect(ready, "the server is ready afterwards")
    report.expect(any(200 <= status < 300 for status in statuses), "some calls succeed")
    return report


def _call(
    operation: Any, mode: GenerationMode, examples: int, statuses: Counter[int], failures: list[str]
) -> None:
    numbers = itertools.count()

    @seed(0)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def call(case: Any) -> None:
        # Names are made up, and without this every call would only hear that there is no such collection.
        if next(numbers) % 2 == 0 and "name" in (case.path_parameters or {}):
            case.path_parameters["name"] = _COLLECTION
        response = case.call(timeout=CLIENT_SECONDS)
        statuses[response.status_code] += 1
        if response.status_code >= 500:
            failures.append(f"{case.as_curl_command()[:500]} -> {response.status_code} {response.text[:200]}")

    call()
