"""The vector store in Milvus, behind the same contract as the one on a single machine.

What it guarantees beyond `VectorStore`, and what it cannot:

- When a write returns, Milvus has it in its log, and a search of any replica that begins afterwards finds
  it (consistency "Strong"; other levels trade that for a shorter wait, see `MilvusStore`).
- Milvus has no transactions. A call's input is checked before anything is written, and each document is
  written whole or not at all; but of a call that fails between two requests (24 MiB each) some documents
  may have been written. Repeating it is harmless.
- The store keeps nothing but its connection: collections are looked up in Milvus by every call, so any
  number of replicas may serve one database.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, TypeVar

from index.milvus.collection import MilvusCollection
from index.milvus.connection import CALL_SECONDS, LOAD_SECONDS, MilvusConnection
from index.milvus.schema import (
    DATA_PREFIX,
    HELD_BY,
    HELD_UNTIL,
    CollectionSettings,
    MilvusDefinition,
    alias_of,
    check_milvus_dimensions,
    data_collection,
    name_of,
    new_data_name,
    parts_collection,
    parts_name,
    read_hold,
    read_settings,
)
from index.types import (
    CollectionExists,
    CollectionHeld,
    CollectionInfo,
    CollectionSpace,
    Document,
    Hit,
    Image,
    NewDocument,
    StorageError,
    StoreUnreachable,
    UnknownCollection,
    Vectors,
)
from index.validation import check_dimensions, check_model, check_name, check_text

Consistency = Literal["Strong", "Session", "Bounded", "Eventually"]
IndexKindName = Literal["auto", "flat", "hnsw", "ivf_sq8", "diskann"]

Result = TypeVar("Result")


class MilvusStore:
    """A `VectorStore` in a Milvus database, or in a Milvus Lite file for one process."""

    def __init__(
        self,
        uri: str,
        token: str | None = None,
        *,
        index_kind: IndexKindName = "auto",
        consistency: Consistency = "Strong",
        shards: int = 1,
        replicas: int = 1,
        call_seconds: float = CALL_SECONDS,
    ) -> None:
        """Connect to Milvus.

        `index_kind`, `shards` (which spread writes) and `replicas` (copies in query nodes, which spread
        searches) are those of collections made from now on. `consistency` is that of searches: "Strong"
        sees every write that was acknowledged before, at the price of waiting for Milvus's clock to pass
        (up to its time tick of 200 ms by default); "Session" sees this client's own writes, "Bounded" is
        behind by seconds at most, "Eventually" does not wait. Counts follow it as well; all other reads are
        strong.

        Raises `StoreUnreachable`, `DataDirectoryLocked` and `StorageError`.
        """
        self._connection = MilvusConnection(uri, token, call_seconds)
        # Milvus Lite is for small collections, and its HNSW is built anew with every flush.
        self._index_kind = "flat" if index_kind == "auto" and self._connection.is_lite else index_kind
        self._consistency = consistency
        self._shards = shards
        self._replicas = replicas
        self._closed = False

    def create(self, name: str, dimensions: int, model: str) -> CollectionInfo:
        """Make a collection, or return the one that exists with the same settings. See `VectorStore`."""
        check_name(name)
        check_milvus_dimensions(check_dimensions(dimensions))
        check_text(model, "model")
        try:
            info = self.get(name)
        except UnknownCollection:
            self._make(name, CollectionSettings(new_data_name(), dimensions, model, self._index_kind))
            info = self.get(name)
        if (info.dimensions, info.model) != (dimensions, model):
            raise CollectionExists(
                f"The collection {name!r} exists with {info.dimensions} dimensions of the model "
                f"{info.model!r}; use another name, or drop it first."
            )
        return info

    def list(self) -> Sequence[CollectionInfo]:
        """Every collection, by name."""
        found = []
        for data_name in self._data_names():
            with suppress(UnknownCollection):  # dropped meanwhile
                found += [self.get(name) for name in self._names_of(data_name)]
        return sorted(found, key=lambda info: info.name)

    def get(self, name: str) -> CollectionInfo:
        """One collection. Raises `UnknownCollection`."""

        def read(collection: MilvusCollection) -> CollectionInfo:
            settings = collection.settings
            return CollectionInfo(
                name,
                collection.count(),
                settings.dimensions,
                settings.index_kind,
                settings.model,
                recall=1.0 if settings.index_kind == "flat" else None,  # Milvus cannot search exactly besides
            )

        return self._on(name, read)

    def space(self, name: str) -> CollectionSpace:
        """What vectors a collection takes. Raises `UnknownCollection`."""
        settings = self._collection(name).settings
        return CollectionSpace(name, settings.dimensions, settings.model)

    def drop(self, name: str) -> None:
        """Remove a collection and its documents. Raises `UnknownCollection`."""
        collection = self._collection(name)
        with self._connection.writing():
            self._connection.call("drop_alias", alias_of(name))
            self._remove_unless_named(collection.data_name)

    def replace(self, name: str, staged: str) -> None:
        """Put the collection `staged` in the place of `name`, in one step for readers. See `VectorStore`."""
        old, new = self._collection(name), self._collection(staged)
        with self._connection.writing():
            # Done again after a failure half-way, both names may lead to the new data already.
            self._connection.call("alter_alias", new.data_name, alias_of(name))
            self._remove_unless_named(old.data_name)
            self._connection.call("drop_alias", alias_of(staged))

    def upsert(self, name: str, documents: Sequence[NewDocument], model: str | None = None) -> None:
        """Write documents; when it returns they are in Milvus's log and searchable. See the module."""

        def write(collection: MilvusCollection) -> None:
            check_model(name, collection.settings.model, model)
            collection.upsert(documents)

        self._write(name, write)

    def hold_writes(self, name: str, seconds: float, holder: str) -> None:
        """Have all replicas refuse writes to a collection for so long. See `VectorStore`.

        Their clocks should agree to a second or so.
        """
        collection = self._collection(name)
        collection.check_not_held(name, by_other_than=holder)
        held = {HELD_UNTIL: str(time.time() + seconds if seconds else 0), HELD_BY: holder}
        with self._connection.writing():
            self._connection.call("alter_collection_properties", collection.data_name, properties=held)
        if seconds:  # of two that began at the same moment, the later one holds
            self._collection(name).check_not_held(name, by_other_than=holder)

    def delete_document(self, name: str, document_id: str) -> None:
        """Remove a document. Raises `UnknownDocument`."""
        self._write(name, lambda collection: collection.delete(document_id))

    def get_document(self, name: str, document_id: str) -> Document:
        """One document. Raises `UnknownDocument`."""
        return self._on(name, lambda collection: collection.document(document_id))

    def get_image(self, name: str, document_id: str) -> Image:
        """A document's image as it was given. Raises `UnknownDocument` if it has none."""
        return self._on(name, lambda collection: collection.image(document_id))

    def existing_ids(self, name: str, ids: Sequence[str]) -> set[str]:
        """Which of the ids the collection holds."""
        return self._on(name, lambda collection: collection.existing_ids(ids))

    def export(self, name: str) -> Iterator[Sequence[NewDocument]]:
        """Every document with its vector and image, in batches. Raises `UnknownCollection`."""
        return self._collection(name).export()

    def fetch(self, name: str, ids: Sequence[str]) -> Sequence[NewDocument]:
        """Those of the documents that the collection holds, with vectors and images. See `VectorStore`."""
        return self._on(name, lambda collection: collection.fetch(ids))

    def search(
        self,
        name: str,
        vector: Vectors,
        k: int,
        filter: Mapping[str, Any] | None = None,
        model: str | None = None,
    ) -> Sequence[Hit]:
        """The k nearest documents that pass the filter. See `VectorStore` and `index.filters`."""

        def find(collection: MilvusCollection) -> Sequence[Hit]:
            check_model(name, collection.settings.model, model)
            return collection.search(vector, k, filter)

        return self._on(name, find)

    def close(self) -> None:
        """Close the connection. Closing twice is harmless."""
        if not self._closed:
            self._closed = True
            self._connection.close()

    def _on(self, name: str, operation: Callable[[MilvusCollection], Result]) -> Result:
        """Do something with a collection; once more if it was replaced between finding and using it."""
        collection = self._collection(name)
        try:
            return operation(collection)
        except UnknownCollection:
            return operation(self._collection(name))

    def _write(self, name: str, operation: Callable[[MilvusCollection], None]) -> None:
        """Write to a collection that nobody holds, before or after.

        Looking again afterwards is what makes a hold certain: a write that a rebuild may have missed is not
        acknowledged, however long it took.
        """

        def write(collection: MilvusCollection) -> None:
            collection.check_not_held(name)
            operation(collection)
            after = self._collection(name)
            after.check_not_held(name)
            if after.data_name != collection.data_name:
                raise CollectionHeld(f"The collection {name!r} was replaced meanwhile; send this again.")

        self._on(name, write)

    def _collection(self, name: str) -> MilvusCollection:
        alias = alias_of(check_name(name))
        if self._closed:
            raise _unknown(name)
        try:
            described = self._connection.call("describe_collection", alias)
        except UnknownCollection:
            raise _unknown(name) from None
        settings, hold = read_settings(described), read_hold(described)
        return MilvusCollection(self._connection, settings, self._consistency, hold)

    def _make(self, name: str, settings: CollectionSettings) -> None:
        """Make the pair of Milvus collections, then the alias, unless another replica was faster."""
        data_name = settings.data_name
        with self._connection.writing():
            rows = data_collection(settings, shards=self._shards, is_lite=self._connection.is_lite)
            self._make_loaded(parts_name(data_name), parts_collection())
            self._make_loaded(data_name, rows)
            try:
                self._connection.call("create_alias", data_name, alias_of(name))
            except StoreUnreachable:
                raise  # the alias may have been made all the same
            except StorageError:
                self._remove(data_name)
                self._collection(name)  # raises if it was not another replica's alias that was in the way

    def _make_loaded(self, milvus_name: str, definition: MilvusDefinition) -> None:
        self._connection.call("create_collection", milvus_name, **definition.options)
        # While there are no rows there is no building to wait for, and pymilvus would wait half a second.
        self._connection.call("create_index", milvus_name, definition.indexes, sync=False)
        self._connection.call(
            "load_collection", milvus_name, replica_number=self._replicas, timeout=LOAD_SECONDS
        )

    def _remove(self, data_name: str) -> None:
        for doomed in (data_name, parts_name(data_name)):
            with suppress(UnknownCollection):
                self._connection.call("drop_collection", doomed)

    def _remove_unless_named(self, data_name: str) -> None:
        """Remove data that no name leads to any more; a replacement cut short leaves two names for one."""
        if not self._names_of(data_name):
            self._remove(data_name)

    def _data_names(self) -> Sequence[str]:
        with self._connection.errors():
            found = self._connection.client.list_collections(timeout=self._connection.seconds)
        return [name for name in found if name.startswith(DATA_PREFIX)]

    def _names_of(self, data_name: str) -> Sequence[str]:
        aliases = self._connection.call("list_aliases", data_name)["aliases"]
        return [name for alias in aliases if (name := name_of(alias)) is not None]


def _unknown(name: str) -> UnknownCollection:
    return UnknownCollection(f"No collection has the name {name!r}.")
