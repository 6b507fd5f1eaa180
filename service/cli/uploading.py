"""Sends documents to a server in batches; a bad one is set aside and the rest of its batch is sent again."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import quote

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from service.cli.client import Client, ServerProblem
from service.cli.corpus import Entry, Failure
from service.cli.exits import fail

BATCH = 32
_BATCH_CHARACTERS = 16 * 2**20  # half of the server's default body limit
_MAX_BUSY_RETRIES = 60
_POSITION = re.compile(r"documents\[(\d+)\]")


@dataclass(slots=True)
class Outcome:
    """How many documents were added, and which were not."""

    added: int = 0
    failures: list[Failure] = field(default_factory=list)


def upload(client: Client, collection: str, corpus: Iterable[Entry | Failure], *, quiet: bool) -> Outcome:
    """Send a corpus to a collection, with a progress bar on standard error unless `quiet`."""
    outcome = Outcome()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        task = progress.add_task(f"Adding to {collection}", total=None)
        batch: list[Entry] = []
        size = 0
        for entry in corpus:
            if isinstance(entry, Failure):
                outcome.failures.append(entry)
                continue
            length = _length(entry)
            if batch and (len(batch) == BATCH or size + length > _BATCH_CHARACTERS):
                _send(client, collection, batch, outcome, progress, task)
                batch, size = [], 0
            batch.append(entry)
            size += length
        _send(client, collection, batch, outcome, progress, task)
        progress.update(task, total=outcome.added)
    return outcome


def _length(entry: Entry) -> int:
    return sum(
        len(part)
        for part in (entry.document.get("image"), entry.document.get("text"))
        if isinstance(part, str)
    )


def _send(
    client: Client, collection: str, batch: list[Entry], outcome: Outcome, progress: Progress, task: TaskID
) -> None:
    """Send a batch; each time the server names bad documents, set them aside and send the others."""
    remaining = list(batch)
    while remaining:
        try:
            _post(client, collection, remaining)
        except ServerProblem as problem:
            for position in sorted(_bad_positions(problem, len(remaining)), reverse=True):
                outcome.failures.append(Failure(remaining.pop(position).source, _reason(problem, position)))
            continue
        outcome.added += len(remaining)
        progress.advance(task, len(remaining))
        return


def _post(client: Client, collection: str, entries: list[Entry]) -> None:
    """Send documents, waiting while the server is busy. Raises `ServerProblem` for bad ones."""
    path = f"/collections/{quote(collection, safe='')}/documents"
    for _ in range(_MAX_BUSY_RETRIES):
        try:
            client.call("POST", path, {"documents": [entry.document for entry in entries]})
        except ServerProblem as problem:
            if problem.status != 429:
                raise
            time.sleep(1.0)
        else:
            return
    fail("The server stayed busy; try again later.")


def _bad_positions(problem: ServerProblem, count: int) -> set[int]:
    """Which documents the server blames; ends the command if it blames none of them."""
    errors = problem.body.get("errors") or []
    found = (_POSITION.match(str(error.get("field", ""))) for error in errors)
    positions = {int(match[1]) for match in found if match is not None and int(match[1]) < count}
    if positions:
        return positions
    if problem.status == 413 and count == 1:
        return {0}
    fail(str(problem))


def _reason(problem: ServerProblem, position: int) -> str:
    prefix = f"documents[{position}]"
    for error in problem.body.get("errors") or []:
        name = str(error.get("field", ""))
        if name.startswith(prefix):
            part = name[len(prefix) :].lstrip(".")
            return " ".join(
                filter(None, (f"{part}:" if part else "", error.get("message"), error.get("mend")))
            )
    return str(problem)
