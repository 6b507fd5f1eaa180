"""What runs on the machines of a Ray cluster: reads portions of a corpus, embeds them, sends the vectors."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
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
    ) -> None:
        """Open the engine. Raises RuntimeError if the collection's vectors are of another checkpoint."""
        if api_key is not None:
            os.environ[API_KEY_VARIABLE] = api_key
        self._collection = collection
        self._image_root = image_root
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
        own_ids: list[tuple[str, str]] = []

        def report(part: Outcome) -> None:
            total.added += part.added
            total.unchanged += part.unchanged
            total.failures += part.failures

        corpus = _noting(read_portion(portion, self._image_root), own_ids)
        try:
            vectors = VectorMaker(self._embedder.model, self._embedder.embed)
            upload(self._client, self._collection, corpus, self._limits, report, vectors)
        except CommandFailed as failed:
            raise RuntimeError(failed.message) from None
        return {
            "added": total.added,
            "unchanged": total.unchanged,
            "failures": [(failure.source, failure.reason) for failure in total.failures],
            "own_ids": own_ids,
        }


def _noting(corpus: Iterable[Entry | Failure], own_ids: list[tuple[str, str]]) -> Iterator[Entry | Failure]:
    """Pass a corpus on, and note the ids that it gives itself with their sources."""
    for entry in corpus:
        if isinstance(entry, Entry) and entry.own_id:
            own_ids.append((entry.id, entry.source))
        yield entry
