"""Latencies once measured, kept beside the vectors: a rerun shows them and does not time again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from training.latency import Latency


class LatencyRecord(BaseModel):
    """What was measured, when, and what it depends on (weights, queries, settings, machine)."""

    measured_at: str
    key: dict[str, Any]
    latency: list[Latency]


def recorded_latency(
    folder: Path | None, key: dict[str, Any], now: str, measure: Callable[[], list[Latency]]
) -> LatencyRecord:
    """The record of an earlier run with the same key below `folder`, or a new measurement.

    `key` is JSON-compatible and names everything that a time depends on; None for `folder` measures anew.
    """
    if folder is None:
        return LatencyRecord(measured_at=now, key=key, latency=measure())
    path = (
        folder / f"latency-{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]}.json"
    )
    try:
        earlier = LatencyRecord.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        earlier = None
    if earlier is not None and earlier.key == key:
        return earlier
    record = LatencyRecord(measured_at=now, key=key, latency=measure())
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(record.model_dump_json(indent=2) + "\n", "utf-8")
    partial.replace(path)
    return record
