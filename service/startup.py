"""Opens the backend: checkpoint to engine, data directory to store, and the demo corpus on the first start.

This is the one place in the service that knows which engine and which store stand behind the contracts.
Importing it is cheap; torch and FAISS are imported when the backend is opened.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from index.log_names import logged_error
from index.types import Image, NewDocument, UnknownCollection, UnusableCollection, VectorStore
from model.types import Embedder, EmbedOptions, EngineObserver, InputType, Item
from service.bulk_embedding import DOCUMENT_PRIORITY
from service.images import media_type
from service.runtime import Backend, Opening
from service.settings import FAISS, Settings
from service.vector_space import vector_space

if TYPE_CHECKING:
    from service.demo.corpus import DemoDocument

DEFAULT_COLLECTION = "default"
DEMO_MARKER = "demo-indexed"  # in the data directory
_DEMO_BATCH = 16
_log = structlog.get_logger("solomon.startup")


def open_engine(settings: Settings, observer: EngineObserver | None = None) -> Embedder:
    """Load the checkpoint (or hub model) that the settings name and start an engine on it.

    Raises `CheckpointError`, `DownloadError` or `NoSuchDevice`, which say what to do.
    """
    from model.checkpoint import load_model, read_manifest
    from model.engine import Engine, EngineSettings

    engine_settings = EngineSettings(
        max_queue=settings.max_queue,
        threads=settings.threads,
        dtype=settings.dtype,
        device=settings.device,
        embedding_cache_items=settings.embedding_cache_items,
        max_batch_tokens=settings.max_batch_tokens,
        max_decoding=settings.max_decoding,
        max_augment_limit=settings.max_augment_tokens,
        vision_cache_bytes=settings.vision_cache_bytes,
    )
    if settings.max_batch_size is not None:
        engine_settings = replace(engine_settings, max_batch_size=settings.max_batch_size)
    if settings.model is None:
        read_manifest(settings.checkpoint)  # a missing folder must not be taken for a hub id
    loaded = load_model(settings.model or settings.checkpoint, progress=_say)
    if settings.augment_threshold is not None:
        loaded = replace(loaded, threshold=settings.augment_threshold)
    return Engine(loaded, engine_settings, observer=observer)


def _say(message: str) -> None:
    _log.info("model", message=message)


def open_store(settings: Settings) -> VectorStore:
    """Open the data directory, or connect to Milvus.

    Raises `DataDirectoryLocked`, `StorageError`, and `StoreUnreachable` where Milvus does not answer.
    """
    if settings.store != FAISS:
        from index.opening import open_milvus

        token = settings.milvus_token.get_secret_value() if settings.milvus_token is not None else None
        return open_milvus(
            settings.store,
            token,
            index_kind=settings.milvus_index,
            consistency=settings.milvus_consistency,
            shards=settings.milvus_shards,
            replicas=settings.milvus_replicas,
        )
    from index.settings import IndexSettings
    from index.store import FaissStore

    index = IndexSettings(
        settings.index_kind,
        settings.index_recall_floor,
        settings.index_flat_threshold,
        settings.index_gpu,
    )
    return FaissStore(settings.data_dir, index=index)


class BackendOpener:
    """Opens the store and the engine as the settings say, then indexes the demo corpus if it is wanted."""

    def __init__(self, settings: Settings, console: Console | None = None) -> None:
        self._settings = settings
        self._console = console or Console(stderr=True)

    def __call__(self, opening: Opening) -> Backend:
        """Open the backend; on any failure what was opened is closed again."""
        opening.describe("opening the index")
        store = open_store(self._settings)
        try:
            opening.describe("loading the model")
            embedder = open_engine(self._settings, opening.observer)
        except BaseException:
            store.close()
            raise
        backend = Backend(embedder, store)
        try:
            # Replicas that share a Milvus would all index the corpus; and its marker is a local file.
            wanted = self._settings.demo and self._settings.store == FAISS
            marker = self._settings.data_dir / DEMO_MARKER if wanted else None
            prepare_default_collection(backend, opening, demo_marker=marker, console=self._console)
        except BaseException:
            backend.close()
            raise
        return backend


def prepare_default_collection(
    backend: Backend, opening: Opening, *, demo_marker: Path | None, console: Console
) -> None:
    """Make the collection `default` if it is missing, and bring the demo corpus in.

    `demo_marker` is the file that says for which model the corpus was indexed (None: no demo is wanted).
    The corpus is indexed once for a model, into a collection that holds nothing else; what an interrupted
    start left undone is taken up again. A collection of another model is left alone.
    """
    space = vector_space(backend.embedder.info)
    try:
        existing = backend.store.get(DEFAULT_COLLECTION)
    except UnknownCollection:
        existing = backend.store.create(DEFAULT_COLLECTION, backend.embedder.info.dimensions, space)
    except UnusableCollection as error:
        _log.error("collection 'default' cannot be served; the others are", reason=logged_error(error))
        return
    if existing.model != space:
        _log.warning(
            "collection 'default' was made by another model; `solomon index rebuild default` embeds it again",
            made_by=existing.model,
            served=space,
        )
        return
    if demo_marker is None or (demo_marker.exists() and demo_marker.read_text("utf-8") == space):
        return
    if _index_demo(backend, opening, console, existing.count):
        demo_marker.write_text(space, "utf-8")


def _index_demo(backend: Backend, opening: Opening, console: Console, count: int) -> bool:
    """Index what is missing of the corpus; False if the collection holds other documents."""
    from service.demo.corpus import demo_documents

    documents = demo_documents()
    present = backend.store.existing_ids(DEFAULT_COLLECTION, [document.id for document in documents])
    if count != len(present):
        return False
    missing = [document for document in documents if document.id not in present]
    opening.describe(f"indexing the demo corpus of {len(documents)} items")
    _log.info("indexing the demo corpus, once", items=len(missing))
    for batch in _batches(_with_progress(missing, console)):
        opening.check_stopping()
        _write(backend, batch)
    _log.info("indexed the demo corpus", items=len(missing))
    return True


def _with_progress(documents: list[DemoDocument], console: Console) -> Iterator[DemoDocument]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # A log of JSON lines is no place for a bar.
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield from progress.track(documents, description="Indexing the demo corpus (once)")


def _batches(documents: Iterable[DemoDocument]) -> Iterator[list[DemoDocument]]:
    remaining = iter(documents)
    while batch := list(itertools.islice(remaining, _DEMO_BATCH)):
        yield batch


def _write(backend: Backend, batch: list[DemoDocument]) -> None:
    options = EmbedOptions(input_type=InputType.DOCUMENT, priority=DOCUMENT_PRIORITY)
    items = [Item(document.text, document.image) for document in batch]
    embeddings = backend.embedder.embed(items, options)
    backend.store.upsert(
        DEFAULT_COLLECTION,
        [
            NewDocument(
                id=document.id,
                vector=embedding.vector,
                text=document.text,
                image=_image(document),
                metadata=document.metadata,
            )
            for document, embedding in zip(batch, embeddings, strict=True)
        ],
    )


def _image(document: DemoDocument) -> Image | None:
    if document.image is None:
        return None
    return Image(document.image, document.media_type or media_type(document.image))
