"""A long even load of every kind of call: memory, files and threads stay as they were after warming up."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter

import httpx

from benchmarks.faults.report import Report, quantile
from benchmarks.faults.target import Target
from tests.e2e.inputs import data_uri, noise

_CLIENTS = 4
_WARM_SHARE = 0.2  # of the time, before memory is compared
_SAMPLES = 100


def soak(target: Target, seconds: float, growth_percent: float = 2.0) -> Report:
    """Load for `seconds`; memory of the last tenth against that after warming up."""
    report = Report("soak")
    statuses: Counter[str] = Counter()
    collection = target.collection()
    until = time.monotonic() + seconds
    threads = [
        threading.Thread(target=_ask, args=(target, collection, number, until, statuses), daemon=True)
        for number in range(_CLIENTS)
    ]
    for thread in threads:
        thread.start()
    time.sleep(seconds * _WARM_SHARE)
    files, started_threads = target.open_files(), target.threads()
    samples = []
    while time.monotonic() < until:
        samples.append(target.resident_bytes())
        time.sleep(max(0.05, seconds / _SAMPLES))
    for thread in threads:
        thread.join(120)
    files_after, threads_after = target.open_files(), target.threads()
    with target.client() as client:
        ready = client.get("/readyz").status_code
    tenth = max(1, len(samples) // 10)
    first, last = (
        quantile([float(size) for size in part], 0.5) for part in (samples[:tenth], samples[-tenth:])
    )
    growth = 100 * (last - first) / first
    report.figures = {
        "seconds": seconds,
        "calls": sum(statuses.values()),
        "statuses": dict(statuses),
        "memory_after_warming_up_mib": round(first / 2**20, 1),
        "memory_at_the_end_mib": round(last / 2**20, 1),
        "memory_growth_percent": round(growth, 2),
        "files": [files, files_after],
        "threads": [started_threads, threads_after],
    }
    report.expect(bool(statuses) and set(statuses) <= {"200", "201", "204"}, "every call succeeds")
    report.expect(growth < growth_percent, f"memory grows by less than {growth_percent:g} %")
    report.expect(files_after <= files + _CLIENTS, "no files are left open")
    report.expect(ready == 200, "the server is ready afterwards")
    return report


def _ask(target: Target, collection: str, number: int, until: float, statuses: Counter[str]) -> None:
    """One client: embeds, searches, writes and deletes; what it writes it takes away again."""
    with target.client() as client:
        for turn in itertools.count():
            if time.monotonic() >= until:
                return
            name = f"c{number}-{turn % 50}"
            document = {"id": name, "text": f"text {turn}", "metadata": {"turn": turn}}
            picture = {"image": data_uri(noise(turn))}
            calls: tuple[tuple[str, str, object], ...] = (
                ("POST", "/embed", {"input": [f"question {turn}", picture], "route": "embed"}),
                ("POST", "/embed", {"input": f"question {turn}", "max_augment_tokens": 8}),
                ("POST", f"{collection}/documents", {"documents": [document]}),
                ("POST", "/search", {"query": f"text {turn}", "k": 10, "collection": "faults"}),
                ("GET", "/metrics", None),
                ("DELETE", f"{collection}/documents/{name}", None),
            )
            for method, path, body in calls:
                try:
                    statuses[str(client.request(method, path, json=body).status_code)] += 1
                except httpx.HTTPError as error:
                    statuses[type(error).__name__] += 1
