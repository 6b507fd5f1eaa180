"""Brings documents into a collection, of which only what is new is sent.

A batch first asks the collection which of its documents it lacks, so a job that was cut short goes on where
it stopped, and one that was finished costs a few small calls. A document that the server refuses is set
aside, and the rest of its batch is sent again.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from service.client import requests
from service.client.answers import Vector
from service.client.calls import Steps
from service.client.errors import ServerProblem
from service.client.outcomes import Failure, Outcome

_POSITION = re.compile(r"documents\[(\d+)\]")


class Sendable(Protocol):
    """A document that is ready to be sent."""

    @property
    def source(self) -> str:
        """Where it came from, for the report of a failure."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def own_id(self) -> bool:
        """Whether its id was given, rather than derived from its path or content."""

    @property
    def size(self) -> int:
        """About how many bytes it takes in a request."""

    @property
    def fingerprint(self) -> str | None:
        """What tells its content (see service.fingerprint); None if only the server can read it."""

    def body(self) -> dict[str, Any]:
        """The document as the API takes it."""


D = TypeVar("D", bound=Sendable)


@dataclass(frozen=True, slots=True)
class VectorMaker(Generic[D]):
    """Makes vectors beside the client, with the checkpoint that made the collection's: `model`."""

    model: str
    embed: Callable[[Sequence[D]], Sequence[Vector | Failure]]


def bring(collection: str, batch: Sequence[D], vectors: VectorMaker[D] | None = None) -> Steps[Outcome]:
    """Bring one batch, whose ids are distinct, into a collection that exists.

    With `vectors` the documents are sent with vectors that were made here.
    """
    remaining = yield from _missing(collection, batch)
    outcome = Outcome(unchanged=len(batch) - len(remaining))
    made = {} if vectors is None else _embed(remaining, vectors, outcome)
    while remaining:
        bodies = [_with_vector(document.body(), made) for document in remaining]
        try:
            yield requests.add(collection, bodies, None if vectors is None else vectors.model)
        except ServerProblem as problem:
            for position in sorted(_blamed(problem, len(remaining)), reverse=True):
                document = remaining.pop(position)
                outcome.failures.append(Failure(document.source, _reason(problem, position)))
        else:
            outcome.added += len(remaining)
            break
    return outcome


def _missing(collection: str, batch: Sequence[D]) -> Steps[list[D]]:
    """What the collection lacks of a batch, as far as that can be told without sending it."""
    known = {entry.id: mark for entry in batch if (mark := entry.fingerprint) is not None}
    if not known:
        return list(batch)
    missing: frozenset[str] = yield requests.missing(collection, known)
    return [entry for entry in batch if entry.id not in known or entry.id in missing]


def _embed(remaining: list[D], vectors: VectorMaker[D], outcome: Outcome) -> dict[str, Vector]:
    """Vectors by id; what cannot be embedded leaves `remaining`."""
    if not remaining:
        return {}
    made: dict[str, Vector] = {}
    for entry, vector in zip(list(remaining), vectors.embed(remaining), strict=True):
        if isinstance(vector, Failure):
            outcome.failures.append(vector)
            remaining.remove(entry)
        else:
            made[entry.id] = vector
    return made


def _with_vector(body: dict[str, Any], vectors: Mapping[str, Vector]) -> dict[str, Any]:
    vector = vectors.get(body["id"])
    if vector is not None:
        body["vector"] = base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
    return body


def _blamed(problem: ServerProblem, count: int) -> set[int]:
    """Which of `count` documents the server blames. Raises the problem if it blames none of them."""
    found = (_POSITION.match(str(error.get("field", ""))) for error in problem.errors)
    positions = {int(match[1]) for match in found if match is not None and int(match[1]) < count}
    if positions:
        return positions
    if problem.status == 413 and count == 1:
        return {0}
    raise problem


def _reason(problem: ServerProblem, position: int) -> str:
    prefix = f"documents[{position}]"
    for error in problem.errors:
        name = str(error.get("field", ""))
        if name == prefix or name.startswith(f"{prefix}."):
            part = name[len(prefix) + 1 :]
            return " ".join(
                filter(None, (f"{part}:" if part else "", error.get("message"), error.get("mend")))
            )
    return str(problem)
