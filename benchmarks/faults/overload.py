"""Ten times what the server can do: bounded memory, only 429s beside successes, and a quick recovery."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx

from benchmarks.faults.clients import recovers
from benchmarks.faults.report import Report, quantile
from benchmarks.faults.target import CLIENT_SECONDS, Target

DEADLINE_SECONDS = 10.0
QUEUE = 16
CLIENTS = 160  # ten times what the queue holds
SETTINGS = {
    "SOLOMON_MAX_QUEUE": str(QUEUE),
    "SOLOMON_MAX_ITEMS": "8",
    "SOLOMON_REQUEST_TIMEOUT_SECONDS": str(DEADLINE_SECONDS),
}
_SATURATING = 8  # clients that keep the model busy, and are not refused
_IMPATIENCE_SECONDS = 0.05  # a client that is refused comes back as quickly as that, whatever it is told
_TIMES_PAST_SATURATION = 10
_RECOVERY_SECONDS = 5.0
_SAMPLE_SECONDS = 0.25
_GROWTH = 64 * 2**20


@dataclass(slots=True)
class Tally:
    """What all clients together were answered."""

    statuses: Counter[str] = field(default_factory=Counter)
    accepted_seconds: list[float] = field(default_factory=list)
    without_retry_after: int = 0
    peak_bytes: int = 0


def overload(target: Target, seconds: float) -> Report:
    """Keep 160 impatient clients at a server whose queue holds 16 items."""
    report = Report("overload")
    calm = min(seconds, 20.0)
    with target.client() as client:
        saturated = asyncio.run(_press(target, _SATURATING, calm))
        before = target.resident_bytes()
        tally = asyncio.run(_press(target, CLIENTS, seconds))
        recovery = recovers(client, within=60.0)
        metrics = client.get("/metrics").text
    served = tally.statuses["200"]
    p99 = quantile(tally.accepted_seconds, 0.99)
    report.figures = {
        "seconds": seconds,
        "clients": CLIENTS,
        "served_a_second_at_saturation": round(saturated.statuses["200"] / calm, 2),
        "served_a_second_overloaded": round(served / seconds, 2),
        "offered_to_served": round(sum(tally.statuses.values()) / max(1, served), 1),
        "statuses": dict(tally.statuses),
        "accepted_p50_seconds": round(quantile(tally.accepted_seconds, 0.5), 3),
        "accepted_p99_seconds": round(p99, 3),
        "deadline_seconds": DEADLINE_SECONDS,
        "memory_growth_mib": round((tally.peak_bytes - before) / 2**20, 1),
        "recovery_seconds": round(recovery, 3),
    }
    report.expect(set(tally.statuses) <= {"200", "429"}, "every answer is 200 or 429")
    report.expect(served > 0, "some calls are served")
    report.expect(tally.without_retry_after == 0, "every 429 says when to come back")
    report.expect_in_time(
        sum(tally.statuses.values()) >= _TIMES_PAST_SATURATION * served,
        "ten times as much is asked as served",
    )
    report.expect_in_time(p99 <= 2 * DEADLINE_SECONDS, "p99 of the accepted is at most twice the deadline")
    report.expect(tally.peak_bytes - before < _GROWTH, "memory is bounded")
    report.expect_in_time(recovery < _RECOVERY_SECONDS, "recovery within 5 s")
    report.expect("\nsolomon_queue_depth 0.0\n" in metrics, "the queue is empty afterwards")
    return report


async def _press(target: Target, clients: int, seconds: float) -> Tally:
    tally = Tally(peak_bytes=target.resident_bytes())
    until = time.monotonic() + seconds
    numbers = itertools.count()
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)

    async def one(session: httpx.AsyncClient) -> None:
        while time.monotonic() < until:
            body = {"input": f"What is number {next(numbers)}?", "route": "augment", "max_augment_tokens": 8}
            began = time.perf_counter()
            try:
                answer = await session.post("/embed", json=body)
            except httpx.HTTPError as error:
                tally.statuses[type(error).__name__] += 1
                continue
            tally.statuses[str(answer.status_code)] += 1
            if answer.status_code == 200:
                tally.accepted_seconds.append(time.perf_counter() - began)
                continue
            tally.without_retry_after += "retry-after" not in answer.headers
            await asyncio.sleep(_IMPATIENCE_SECONDS)

    async def watch() -> None:
        while time.monotonic() < until:
            tally.peak_bytes = max(tally.peak_bytes, target.resident_bytes())
            await asyncio.sleep(_SAMPLE_SECONDS)

    async with httpx.AsyncClient(base_url=target.url, timeout=CLIENT_SECONDS, limits=limits) as session:
        await asyncio.gather(watch(), *(one(session) for _ in range(clients)))
    return tally
