"""Ten times what the server can do: bounded memory, only 429s beside successes, and a quick recovery.

Calls arrive at a steady rate, whatever becomes of those before them, while there are fewer than 160 of these:
twelve times what the server answered when it was kept busy. An impatient client's next call comes when its
first was refused, so that a server that refuses slowly would be asked for less.

Memory is compared after some seconds of the same load: the allocator keeps what the largest batches took, and
the first answers in all slots touch the KV cache. What it is since saturation is told as well.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import httpx

from benchmarks.faults.clients import recovers
from benchmarks.faults.report import Report, quantile
from benchmarks.faults.target import CLIENT_SECONDS, Target

DEADLINE_SECONDS = 10.0
QUEUE = 16
SETTINGS = {
    "SOLOMON_MAX_QUEUE": str(QUEUE),
    "SOLOMON_MAX_ITEMS": "8",
    "SOLOMON_REQUEST_TIMEOUT_SECONDS": str(DEADLINE_SECONDS),
}
_SATURATING = 8  # clients that keep the model busy, and are not refused
_TIMES_PAST_SATURATION = 10
_ARRIVALS_TO_SATURATION = 12  # some more, as fewer are served while so many are refused
_MOST_CONNECTIONS = 160  # ten times what the queue holds; calls beyond them arrive later
_WARMING_SECONDS = 10.0  # of the same, after which memory is compared
_RECOVERY_SECONDS = 5.0
_SAMPLE_SECONDS = 0.25
_GROWTH = 64 * 2**20
_SECOND_HALF = 1.02  # of the first half's memory at most


@dataclass(slots=True)
class Tally:
    """What all calls together were answered."""

    statuses: Counter[str] = field(default_factory=Counter)
    accepted_seconds: list[float] = field(default_factory=list)
    refused_seconds: list[float] = field(default_factory=list)
    without_retry_after: int = 0
    resident: list[int] = field(default_factory=list)  # bytes, every moment
    under_way: int = 0
    most_under_way: int = 0


def overload(target: Target, seconds: float) -> Report:
    """Ask a server whose queue holds 16 items for twelve times what it can answer."""
    report = Report("overload")
    calm = min(seconds, 20.0)
    with target.client() as client:
        saturated = asyncio.run(_saturate(target, calm))
        a_second = max(0.1, saturated.statuses["200"] / calm)
        at_rest = target.resident_bytes()
        asyncio.run(_flood(target, _ARRIVALS_TO_SATURATION * a_second, min(seconds, _WARMING_SECONDS)))
        before = target.resident_bytes()
        tally = asyncio.run(_flood(target, _ARRIVALS_TO_SATURATION * a_second, seconds))
        recovery = recovers(client, within=60.0)
        metrics = client.get("/metrics").text
    half = len(tally.resident) // 2
    early, late = max(tally.resident[: half + 1]), max(tally.resident[half:])
    served, asked = tally.statuses["200"], sum(tally.statuses.values())
    p99 = quantile(tally.accepted_seconds, 0.99)
    report.figures = {
        "seconds": seconds,
        "served_a_second_at_saturation": round(a_second, 2),
        "asked_a_second": round(asked / seconds, 1),
        "served_a_second_overloaded": round(served / seconds, 2),
        "asked_to_saturation": round(asked / seconds / max(0.01, a_second), 1),
        "most_calls_under_way": tally.most_under_way,
        "statuses": dict(tally.statuses),
        "accepted_p50_seconds": round(quantile(tally.accepted_seconds, 0.5), 3),
        "accepted_p99_seconds": round(p99, 3),
        "refused_p99_seconds": round(quantile(tally.refused_seconds, 0.99), 3),
        "deadline_seconds": DEADLINE_SECONDS,
        "memory_growth_mib": round((max(early, late) - before) / 2**20, 1),
        "since_saturation_mib": round((max(early, late) - at_rest) / 2**20, 1),
        "memory_growth_in_the_second_half_percent": round(100 * (late - early) / early, 2),
        "recovery_seconds": round(recovery, 3),
    }
    report.expect(set(tally.statuses) <= {"200", "429"}, "every answer is 200 or 429")
    report.expect(served > 0, "some calls are served")
    report.expect(tally.statuses["429"] > 0, "some calls are refused")
    report.expect(tally.without_retry_after == 0, "every 429 says when to come back")
    report.expect_in_time(
        asked >= _TIMES_PAST_SATURATION * a_second * seconds, "ten times as much is asked as can be served"
    )
    report.expect_in_time(p99 <= 2 * DEADLINE_SECONDS, "p99 of the accepted is at most twice the deadline")
    report.expect(max(early, late) - before < _GROWTH, "memory is bounded")
    report.expect(late <= _SECOND_HALF * early, "memory does not go on growing")
    report.expect_in_time(recovery < _RECOVERY_SECONDS, "recovery within 5 s")
    report.expect("\nsolomon_queue_depth 0.0\n" in metrics, "the queue is empty afterwards")
    return report


async def _saturate(target: Target, seconds: float) -> Tally:
    """A few clients, each of whom calls again as soon as it is answered."""

    async def press(tally: Tally, until: float) -> None:
        async def client() -> None:
            async with _session(target) as session:
                while time.monotonic() < until:
                    await _ask(session, tally)

        await asyncio.gather(*(client() for _ in range(_SATURATING)))

    return await _watched(target, seconds, press)


async def _flood(target: Target, a_second: float, seconds: float) -> Tally:
    """Calls at a steady rate, on connections that are kept and as many as that takes."""

    async def press(tally: Tally, until: float) -> None:
        began = time.monotonic()
        async with AsyncExitStack() as sessions, asyncio.TaskGroup() as calls:
            idle: list[httpx.AsyncClient] = []
            connections = asyncio.Semaphore(_MOST_CONNECTIONS)

            async def call() -> None:
                async with connections:
                    session = idle.pop() if idle else await sessions.enter_async_context(_session(target))
                    await _ask(session, tally)
                    idle.append(session)

            for number in itertools.count():
                await asyncio.sleep(max(0.0, began + number / a_second - time.monotonic()))
                if time.monotonic() >= until:
                    return
                calls.create_task(call())

    return await _watched(target, seconds, press)


def _session(target: Target) -> httpx.AsyncClient:
    """A connection of its own: a pool of many is searched through for every call, at the server's cost."""
    return httpx.AsyncClient(base_url=target.url, timeout=CLIENT_SECONDS, verify=False)


_numbers = itertools.count()


async def _ask(session: httpx.AsyncClient, tally: Tally) -> None:
    body = {"input": f"What is number {next(_numbers)}?", "route": "augment", "max_augment_tokens": 8}
    tally.under_way += 1
    tally.most_under_way = max(tally.most_under_way, tally.under_way)
    began = time.perf_counter()
    try:
        answer = await session.post("/embed", json=body)
    except httpx.HTTPError as error:
        tally.statuses[type(error).__name__] += 1
        return
    finally:
        tally.under_way -= 1
    tally.statuses[str(answer.status_code)] += 1
    accepted = answer.status_code == 200
    (tally.accepted_seconds if accepted else tally.refused_seconds).append(time.perf_counter() - began)
    tally.without_retry_after += answer.status_code == 429 and "retry-after" not in answer.headers


async def _watched(
    target: Target, seconds: float, press: Callable[[Tally, float], Coroutine[None, None, None]]
) -> Tally:
    """Press for so long, with an eye on the server's memory."""
    tally = Tally()
    until = time.monotonic() + seconds

    async def watch() -> None:
        while time.monotonic() < until:
            tally.resident.append(target.resident_bytes())
            await asyncio.sleep(_SAMPLE_SECONDS)

    await asyncio.gather(watch(), press(tally, until))
    return tally
