"""What runs on the machines of a Ray cluster: reads portions of a corpus, embeds them, sends the vectors."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

from model.errors import InputError
from model.types import Embedder, Item, Vector
from service.bulk_embedding import embed_documents
from service.cli.client import Client
from service.cli.exits import CommandFailed
from service.cli.uploading import server_limits, upload
from service.client.bringing import VectorMaker
from service.client.configuration import API_KEY_VARIABLE
from service.client.outcomes import Failure, Outcome
from service.corpus.entries import Entry
from service.corpus.portions import Portion
from service.corpus.reading import read_portion
from service.vector_space import vector_space

EngineOpener = Callable[[], Embedder]

# Told ids with the sources that give them, says of each whether it is that source's to write.
Claim = Callable[[Sequence[tuple[str, str]]], Sequence[bool]]

_CLAIMED_AT_ONCE = 32


def open_checkpoint(checkpoint: str | None) -> Embedder:
    """An engine on a checkpoint's folder or a model of the hub, solomon-mini if None."""
    from model.checkpoint import load_model
    from model.engine import Engine
    from service.settings import default_checkpoint

    return Engine(load_model(checkpoint or default_checkpoint()))


class EngineEmbedder:
    """Makes the vectors of documents with an engine of this process."""

    def __init__(self, engine: Embedder) -> None:
        self._engine = engine

    @property
    def model(self) -> str:
        """The checkpoint as collections name it."""
        return vector_space(self._engine.info)

    def embed(self, entries: Sequence[Entry]) -> list[Vector | Failure]:
        """A unit vector [D] for each document, or why there is none."""
        places = [place for place, entry in enumerate(entries) if entry.image_url is None]
        items = [Item(entries[place].text, entries[place].image) for place in places]
        made: list[Vector | Failure] = [
            Failure(entry.source, "image: a cluster fetches no images from addresses; give a file.")
            for entry in entries
        ]
        for place, vector in zip(places, embed_documents(self._engine, items), strict=True):
            if isinstance(vector, InputError):
                made[place] = Failure(entries[place].source, f"{vector.field}: {vector}")
            else:
                made[place] = vector
        return made


class Claims:
    """Which source each id of a run is of: the first that claims it, so that no id is written from two.

    Of all workers one; 64-bit digests keep it at about 150 bytes a document. Who does a dead worker's portion
    again claims for the same sources, and gets the same answers.
    """

    def __init__(self) -> None:
        self._sources: dict[bytes, bytes] = {}

    def claim(self, claims: Sequence[tuple[str, str]]) -> list[bool]:
        """Of ids and sources, which may be written."""
        return [
            self._sources.setdefault(_digest(document_id), _digest(source)) == _digest(source)
            for document_id, source in claims
        ]


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=8).digest()


class CorpusWorker:
    """A Ray Data actor: one engine, and a connection to the server that keeps the collection.

    Whatever it was doing when it died is done again by another, which finds in the collection what was
    already written; so nothing is lost, and nothing embedded twice.
    """

    def __init__(
        self,
        open_engine: EngineOpener,
        collection: str,
        made_by: str,
        url: str,
        api_key: str | None,
        image_root: Path | None,
        claim: Claim,
    ) -> None:
        """Open the engine; `claim` is that of the run's `Claims`.

        Raises RuntimeError if the collection's vectors are of another checkpoint.
        """
        if api_key is not None:
            os.environ[API_KEY_VARIABLE] = api_key
        self._collection = collection
        self._image_root = image_root
        self._claim = claim
        self._embedder = EngineEmbedder(open_engine())
        if self._embedder.model != made_by:
            raise RuntimeError(
                f"The workers' checkpoint is {self._embedder.model}, and the collection's vectors are of "
                f"{made_by}; name that one with --checkpoint."
            )
        self._client = Client(url)
        self._limits = server_limits(self._client)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Bring portions (as JSON, in the column "portion") into the collection; a row for each."""
        done = [self._bring(Portion(**json.loads(portion))) for portion in batch["portion"]]
        return {"outcome": [json.dumps(row) for row in done]}

    def _bring(self, portion: Portion) -> dict[str, Any]:
        total = Outcome()

        def report(part: Outcome) -> None:
            total.added += part.added
            total.unchanged += part.unchanged
            total.failures += part.failures

        corpus = _claimed(read_portion(portion, self._image_root), self._claim)
        try:
            vectors = VectorMaker(self._embedder.model, self._embedder.embed)
            upload(self._client, self._collection, corpus, self._limits, report, vectors)
        except CommandFailed as failed:
            raise RuntimeError(failed.message) from None
        return {
            "added": total.added,
            "unchanged": total.unchanged,
            "failures": [(failure.source, failure.reason) for failure in total.failures],
        }


def _claimed(corpus: Iterable[Entry | Failure], claim: Claim) -> Iterator[Entry | Failure]:
    """Pass a corpus on; an id that it gives itself and that another source has is a failure."""
    entries = iter(corpus)
    while part := list(islice(entries, _CLAIMED_AT_ONCE)):
        own = [entry for entry in part if isinstance(entry, Entry) and entry.own_id]
        free = claim([(entry.id, entry.source) for entry in own]) if own else []
        taken = {id(entry) for entry, is_free in zip(own, free, strict=True) if not is_free}
        for entry in part:
            if isinstance(entry, Entry) and id(entry) in taken:
                reason = f"id: {entry.id!r} was used before in this run; give each document its own id."
                yield Failure(entry.source, reason)
            else:
                yield entry
