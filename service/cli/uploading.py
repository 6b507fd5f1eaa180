"""Brings a corpus into a collection: batches under way side by side, of which only what is new is sent.

Each batch first asks the collection which of its documents it lacks, so a job that was cut short goes on
where it stopped, and one that was finished costs a few small calls. A document that the server refuses is
set aside, and the rest of its batch is sent again.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Protocol
from urllib.parse import quote

from model.types import Vector
from service.cli.client import Client, ServerProblem
from service.cli.exits import fail
from service.corpus.entries import Entry, Failure

BATCH = 64  # the engine's own batch
IN_FLIGHT = 4
_POSITION = re.compile(r"documents\[(\d+)\]")


@dataclass(slots=True)
class Outcome:
    """What became of documents: added, already held with the same content, or not added."""

    added: int = 0
    unchanged: int = 0
    failures: list[Failure] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many documents these are."""
        return self.added + self.unchanged + len(self.failures)


class LocalEmbedder(Protocol):
    """Makes vectors beside the client, with the checkpoint that made the collection's."""

    @property
    def model(self) -> str:
        """The checkpoint as collections name it."""

    def embed(self, entries: Sequence[Entry]) -> list[Vector | Failure]:
        """A unit vector [D] for each document, or why there is none."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may hold."""

    documents: int
    bytes: int

    @classmethod
    def of_server(cls, client: Client) -> Limits:
        """The limits that a server states, with room for what is not counted."""
        limits = client.call_or_fail("GET", "/info")["limits"]
        documents = min(BATCH, int(limits["max_items"]), max(1, int(limits["max_queue"]) // 2))
        return cls(documents, int(limits["max_body_bytes"]) // 2)


def upload(
    client: Client,
    collection: str,
    corpus: Iterable[Entry | Failure],
    limits: Limits,
    report: Callable[[Outcome], None],
    embedder: LocalEmbedder | None = None,
) -> None:
    """Bring a corpus into a collection that exists, and tell `report` (on this thread) as it comes along."""
    sender = _Sender(client, collection, embedder)
    with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="upload") as pool:
        under_way: set[Future[Outcome]] = set()
        try:
            for batch in _batches(corpus, limits, report):
                under_way.add(pool.submit(sender.bring, batch))
                if len(under_way) == IN_FLIGHT:
                    under_way = _collect(under_way, report)
            while under_way:
                under_way = _collect(under_way, report)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _collect(under_way: set[Future[Outcome]], report: Callable[[Outcome], None]) -> set[Future[Outcome]]:
    """Wait for a batch and report what is done; return what is not."""
    done, others = wait(under_way, return_when=FIRST_COMPLETED)
    for future in done:
        report(future.result())
    return others


def _batches(
    corpus: Iterable[Entry | Failure], limits: Limits, report: Callable[[Outcome], None]
) -> Iterator[list[Entry]]:
    """Batches within the limits; what is no document, or is one again, is reported here."""
    seen = Seen()
    batch: list[Entry] = []
    size = 0
    for entry in corpus:
        if isinstance(entry, Failure):
            report(Outcome(failures=[entry]))
            continue
        if not seen.is_new(entry.id):
            report(_again(entry))
            continue
        if batch and (len(batch) == limits.documents or size + entry.size > limits.bytes):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += entry.size
    if batch:
        yield batch


def _again(entry: Entry) -> Outcome:
    """What becomes of a document whose id came before.

    An id that follows from path or content stands for the same document; one that the corpus itself gives
    twice would make the result depend on which is written last.
    """
    if not entry.own_id:
        return Outcome(unchanged=1)
    reason = f"id: {entry.id!r} was used before in this run; give each document its own id."
    return Outcome(failures=[Failure(entry.source, reason)])


class Seen:
    """The ids of a run, as 64-bit digests: about 60 bytes a document."""

    def __init__(self) -> None:
        self._digests: set[int] = set()

    def is_new(self, document_id: str) -> bool:
        """Whether the id comes for the first time."""
        digest = int.from_bytes(blake2b(document_id.encode(), digest_size=8).digest())
        known = digest in self._digests
        self._digests.add(digest)
        return not known


class _Sender:
    """Brings batches to the server; called from several threads."""

    def __init__(self, client: Client, collection: str, embedder: LocalEmbedder | None) -> None:
        self._client = client
        self._path = f"/collections/{quote(collection, safe='')}/documents"
        self._embedder = embedder

    def bring(self, batch: Sequence[Entry]) -> Outcome:
        """Send what the collection lacks of a batch, without the documents that the server blames."""
        remaining = self._missing(batch)
        outcome = Outcome(unchanged=len(batch) - len(remaining))
        vectors = self._vectors(remaining, outcome)
        while remaining:
            try:
                self._post(remaining, vectors)
            except ServerProblem as problem:
                for position in sorted(_bad_positions(problem, len(remaining)), reverse=True):
                    entry = remaining.pop(position)
                    outcome.failures.append(Failure(entry.source, _reason(problem, position)))
                continue
            outcome.added += len(remaining)
            break
        return outcome

    def _missing(self, batch: Sequence[Entry]) -> list[Entry]:
        prints = {entry.id: entry.fingerprint for entry in batch}
        known = [{"id": name, "fingerprint": mark} for name, mark in prints.items() if mark is not None]
        if not known:
            return list(batch)
        try:
            answer = self._client.call_patiently("POST", f"{self._path}/missing", {"documents": known})
        except ServerProblem as problem:
            fail(str(problem))
        missing = set(answer["missing"])
        return [entry for entry in batch if prints[entry.id] is None or entry.id in missing]

    def _vectors(self, remaining: list[Entry], outcome: Outcome) -> dict[str, Vector]:
        """Vectors by id where they are made here; what cannot be embedded leaves `remaining`."""
        if self._embedder is None or not remaining:
            return {}
        vectors: dict[str, Vector] = {}
        for entry, vector in zip(list(remaining), self._embedder.embed(remaining), strict=True):
            if isinstance(vector, Failure):
                outcome.failures.append(vector)
                remaining.remove(entry)
            else:
                vectors[entry.id] = vector
        return vectors

    def _post(self, entries: Sequence[Entry], vectors: dict[str, Vector]) -> None:
        body: dict[str, Any] = {"documents": [entry.body() for entry in entries]}
        if self._embedder is not None:
            body["model"] = self._embedder.model
            for document in body["documents"]:
                document["vector"] = base64.b64encode(
                    vectors[document["id"]].astype("<f4").tobytes()
                ).decode()
        self._client.call_patiently("POST", self._path, body)


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
        if name == prefix or name.startswith(f"{prefix}."):
            part = name[len(prefix) + 1 :]
            return " ".join(
                filter(None, (f"{part}:" if part else "", error.get("message"), error.get("mend")))
            )
    return str(problem)
