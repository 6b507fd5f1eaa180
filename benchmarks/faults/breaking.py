"""Things that break once: the engine's thread, the process, the disk, the checkpoint, the clock."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from benchmarks.faults.report import Report
from benchmarks.faults.target import CLIENT_SECONDS, Target
from service.settings import default_checkpoint
from tests.e2e.server_process import clean_environment, free_port, solomon_command

DAMAGES = ("flipped", "cut", "missing", "manifest")
_UNREADY_SECONDS = 10.0
_ANSWERED = {"input": "a question", "route": "embed"}


def _write(client: httpx.Client, collection: str, names: list[str], size: int = 10) -> int:
    documents = [
        {"id": name, "text": f"{name} is a document", "metadata": {"ballast": "x" * size}} for name in names
    ]
    return client.post(f"{collection}/documents", json={"documents": documents}).status_code


def _missing(client: httpx.Client, collection: str, names: list[str]) -> list[str]:
    return [name for name in names if client.get(f"{collection}/documents/{name}").status_code != 200]


def dead_engine(target: Target) -> Report:
    """The engine's thread dies while calls wait for it; the process is then restarted, as it would be."""
    report = Report("engine")
    collection = target.collection()
    with target.client() as client:
        written = [f"w{number}" for number in range(8)]
        report.expect(_write(client, collection, written) == 201, "documents are taken")
        waiting = _Waiting(target, 8)
        target.kill_engine()
        began = time.monotonic()
        waiting.start()
        while client.get("/readyz").status_code != 503 and time.monotonic() - began < _UNREADY_SECONDS:
            time.sleep(0.01)
        unready = time.monotonic() - began
        states = {path: client.get(path).status_code for path in ("/readyz", "/healthz", "/metrics")}
        refused = client.post("/embed", json=_ANSWERED)
        statuses = waiting.join()
        exit_status = target.stop()
        began = time.monotonic()
        target.start()
        restarted = time.monotonic() - began
        with target.client() as fresh:
            lost = _missing(fresh, collection, written)
            served = fresh.post("/embed", json=_ANSWERED).status_code
    report.figures = {
        "seconds_until_unready": round(unready, 3),
        "states": states,
        "calls_in_flight": dict(statuses),
        "exit_status_of_a_stop": exit_status,
        "seconds_to_restart": round(restarted, 2),
        "acknowledged_and_lost": lost,
    }
    report.expect(states == {"/readyz": 503, "/healthz": 503, "/metrics": 200}, "unready, and says so")
    report.expect(refused.status_code == 503 and "retry-after" in refused.headers, "calls are told to wait")
    report.expect(set(statuses) <= {"200", "503"}, "calls in flight are answered, not left hanging")
    report.expect(not lost and served == 200, "after a restart all is there and served")
    return report


class _Waiting:
    """Calls that are in flight while something breaks."""

    def __init__(self, target: Target, count: int) -> None:
        self._target = target
        self._statuses: Counter[str] = Counter()
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(count)]

    def _call(self) -> None:
        body = {"input": "What is it?", "route": "augment"}
        try:
            answer = httpx.post(f"{self._target.url}/embed", json=body, timeout=CLIENT_SECONDS)
            self._statuses[str(answer.status_code)] += 1
        except httpx.HTTPError as error:
            self._statuses[type(error).__name__] += 1

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> Counter[str]:
        for thread in self._threads:
            thread.join(CLIENT_SECONDS)
        return self._statuses


def killed_process(target: Target, rounds: int) -> Report:
    """kill -9 while documents are written: what was acknowledged is there again."""
    report = Report("kill")
    acknowledged: list[str] = []
    restarts: list[float] = []
    collection = target.collection()
    for number in range(rounds):
        stopped = threading.Event()
        writer = threading.Thread(
            target=_write_until, args=(target, collection, number, acknowledged, stopped)
        )
        count = len(acknowledged)
        writer.start()
        given_up = time.monotonic() + CLIENT_SECONDS
        while len(acknowledged) < count + 10 and time.monotonic() < given_up:
            time.sleep(0.01)
        target.kill()
        stopped.set()
        writer.join(CLIENT_SECONDS)
        began = time.monotonic()
        target.start()
        restarts.append(round(time.monotonic() - began, 2))
    with target.client() as client:
        lost = _missing(client, collection, acknowledged)
    report.figures = {
        "rounds": rounds,
        "acknowledged": len(acknowledged),
        "lost": lost,
        "seconds_to_restart": restarts,
    }
    report.expect(len(acknowledged) >= 10 * rounds, "documents are taken before each kill")
    report.expect(not lost, "nothing acknowledged is lost")
    return report


def _write_until(
    target: Target, collection: str, round_number: int, acknowledged: list[str], stopped: threading.Event
) -> None:
    number = 0
    with target.client() as client:
        while not stopped.is_set():
            name = f"r{round_number}-{number}"
            number += 1
            try:
                if _write(client, collection, [name]) == 201:
                    acknowledged.append(name)
            except httpx.HTTPError:
                return


def full_disk(target: Target) -> Report:
    """Files of the server cannot grow: writes are refused with 507, reads go on, and all heals with room."""
    report = Report("disk")
    acknowledged: list[str] = []
    statuses: Counter[int] = Counter()
    collection = target.collection()
    with target.client() as client:
        report.expect(_write(client, collection, ["before"]) == 201, "documents are taken")
        acknowledged.append("before")
        target.fill_disk()
        for number in range(200):
            status = _write(client, collection, [f"d{number}"], size=15_000)
            statuses[status] += 1
            if status == 201:
                acknowledged.append(f"d{number}")
            elif statuses[status] >= 5:
                break
        search = {"query": "a document", "k": 5, "route": "embed", "collection": "faults"}
        searched = client.post("/search", json=search).status_code
        ready = client.get("/readyz").status_code
        target.free_disk()
        after = _write(client, collection, ["after"])
        acknowledged.append("after")
        lost = _missing(client, collection, acknowledged)
    target.kill()
    target.start()
    with target.client() as client:
        lost_after_kill = _missing(client, collection, acknowledged)
    report.figures = {
        "writes": {str(status): count for status, count in statuses.items()},
        "search_while_full": searched,
        "ready_while_full": ready,
        "write_after": after,
        "acknowledged": len(acknowledged),
        "lost": lost,
        "lost_after_kill": lost_after_kill,
    }
    report.expect(statuses[507] > 0 and set(statuses) <= {201, 507}, "what has no room is refused with 507")
    report.expect(searched == 200 and ready == 200, "reads go on")
    report.expect(after == 201, "with room writes go on")
    report.expect(not lost and not lost_after_kill, "nothing acknowledged is lost")
    return report


def corrupt_checkpoint(damages: Sequence[str] = DAMAGES) -> Report:
    """A checkpoint of which bytes are flipped, cut off or missing is refused before anything is served."""
    report = Report("checkpoint")
    outcomes: dict[str, Any] = {}
    weights = sorted(default_checkpoint().rglob("*.safetensors"), key=lambda file: file.stat().st_size)[0]
    relative = weights.relative_to(default_checkpoint())
    for damage in damages:
        with tempfile.TemporaryDirectory(prefix="solomon-faults-") as folder:
            copy = Path(folder) / "checkpoint"
            shutil.copytree(default_checkpoint(), copy)
            _damage(copy, copy / relative, damage)
            outcome = _start_with(copy, Path(folder) / "data")
            outcomes[damage] = outcome
        report.expect(outcome["exit_status"] == 1, f"{damage}: the server does not start")
        named = "solomon.json" if damage == "manifest" else relative.name
        report.expect(named in outcome["message"], f"{damage}: the message names {named}")
        report.expect("Traceback" not in outcome["message"], f"{damage}: the message is for a person")
    report.figures = {"damages": outcomes}
    return report


def _damage(checkpoint: Path, weights: Path, damage: str) -> None:
    if damage == "flipped":
        content = bytearray(weights.read_bytes())
        content[-100] ^= 0xFF
        weights.write_bytes(content)
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif damage == "missing":
        weights.unlink()
    else:
        (checkpoint / "solomon.json").write_text("{")


def _start_with(checkpoint: Path, data: Path) -> dict[str, Any]:
    options = ["--checkpoint", str(checkpoint), "--data-dir", str(data), "--port", str(free_port())]
    began = time.monotonic()
    ended = subprocess.run(
        [*solomon_command(), "serve", "--no-demo", *options],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return {
        "exit_status": ended.returncode,
        "seconds": round(time.monotonic() - began, 1),
        "message": ended.stderr[max(0, ended.stderr.rfind("solomon: ")) :][:1000],
    }


def skewed_clock(target: Target, jumps: int) -> Report:
    """The wall clock jumps by days while clients call: deadlines, rates and timeouts do not follow it."""
    report = Report("clock")
    statuses: Counter[int] = Counter()
    collection = target.collection()
    with target.client() as client:
        for _ in range(jumps):
            waiting = _Waiting(target, 4)
            waiting.start()
            target.skew_clock()
            statuses[client.post("/embed", json=_ANSWERED).status_code] += 1
            statuses[_write(client, collection, ["skewed"])] += 1
            for status, count in waiting.join().items():
                statuses[int(status) if status.isdecimal() else 0] += count
        ready = client.get("/readyz").status_code
    report.figures = {
        "jumps": jumps,
        "statuses": {str(status): count for status, count in statuses.items()},
        "ready_afterwards": ready,
    }
    report.expect(set(statuses) <= {200, 201}, "every call is answered as if nothing had happened")
    report.expect(ready == 200, "the server stays ready")
    return report
