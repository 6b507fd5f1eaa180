"""One collection in Milvus: what `MilvusStore` does with its documents."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from index.filters import parse_filter
from index.milvus.batches import KEYS_AT_A_TIME, REQUEST_BYTES, batches, rows_at_a_time
from index.milvus.connection import MilvusConnection
from index.milvus.neighbours import FIELDS, Neighbours, Scored
from index.milvus.parts import Parts, PartsMissing
from index.milvus.rows import StoredRow, key_of, new_row, stored_row
from index.milvus.schema import NOT_HELD, CollectionSettings, Hold, parts_name
from index.types import (
    CollectionHeld,
    Document,
    Hit,
    Image,
    NewDocument,
    StorageError,
    UnknownDocument,
    Vectors,
)
from index.validation import check_documents, check_k, unit_vector

_ATTEMPTS = 5  # at reading a document that is replaced meanwhile

Result = TypeVar("Result")


class MilvusCollection:
    """A collection as it was found in Milvus; it is looked up anew for each call of the store."""

    def __init__(
        self,
        connection: MilvusConnection,
        settings: CollectionSettings,
        consistency: str,
        hold: Hold = NOT_HELD,
    ) -> None:
        """Use the rows that the settings name, and their parts; `consistency` is that of searches.

        `hold` says who holds its writes, and until when.
        """
        self.data_name = settings.data_name
        self.settings = settings
        self._connection = connection
        self._consistency = consistency
        self._hold = hold
        self._parts = Parts(connection, parts_name(settings.data_name))

    def check_not_held(self, name: str, by_other_than: str = "") -> None:
        """Raise `CollectionHeld` while somebody else rebuilds the collection, which has this name."""
        if time.time() < self._hold.until and self._hold.holder != by_other_than:
            raise CollectionHeld(
                f"The collection {name!r} is being rebuilt and takes no writes; try again later."
            )

    def count(self) -> int:
        """How many documents there are, as consistently as searches are."""
        return int(
            self._connection.call(
                "query", self.data_name, output_fields=["count(*)"], consistency_level=self._consistency
            )[0]["count(*)"]
        )

    def upsert(self, documents: Sequence[NewDocument]) -> None:
        """Write documents; of several with one id the last is kept. See `MilvusStore`."""
        vectors, encoded = check_documents(documents, self.settings.dimensions)
        last_of = {document.id: position for position, document in enumerate(documents)}
        new = [
            new_row(documents[position], encoded[position], vectors[position], f"documents[{position}]")
            for position in sorted(last_of.values())
        ]
        if not new:
            return
        with self._connection.writing():
            replaced = self._rows([row.row["key"] for row in new])
            self._parts.write([part for row in new for part in row.parts])
            for batch in batches(new, lambda row: row.bytes, REQUEST_BYTES):
                self._connection.call("upsert", self.data_name, [row.row for row in batch])
            self._parts.remove(parts for row in replaced for parts in row.parts)

    def delete(self, document_id: str) -> None:
        """Remove a document. Raises `UnknownDocument`."""
        with self._connection.writing():
            row = self._row(document_id)
            self._connection.call("delete", self.data_name, ids=[row.key])
            self._parts.remove(row.parts)

    def document(self, document_id: str) -> Document:
        """One document. Raises `UnknownDocument`."""
        return _while_replaced(lambda: self._whole(self._row(document_id)).document)

    def image(self, document_id: str) -> Image:
        """A document's image. Raises `UnknownDocument`."""

        def read() -> Image:
            row = self._row(document_id)
            if row.image is None or row.document.image_media_type is None:
                raise UnknownDocument(f"No document with the id {document_id!r} has an image.")
            return Image(self._parts.read([row.image])[0], row.document.image_media_type)

        return _while_replaced(read)

    def existing_ids(self, ids: Sequence[str]) -> set[str]:
        """Which of the ids the collection holds."""
        id_of = {key_of(document_id): document_id for document_id in ids}
        return {id_of[row["key"]] for row in self._by_key(list(id_of), ["key"])}

    def search(self, vector: Vectors, k: int, filter: Mapping[str, Any] | None) -> Sequence[Hit]:
        """The k nearest documents that pass the filter. See `VectorStore.search`."""
        query = unit_vector(vector, self.settings.dimensions)
        k = check_k(k)
        condition = None if filter is None else parse_filter(filter)
        neighbours = Neighbours(self._connection, self.settings, self._consistency, query, condition)

        def read() -> Sequence[Hit]:
            best: list[Scored] = neighbours.nearest(k)
            return [Hit(self._whole(row).document, score) for score, row in best]

        return _while_replaced(read)

    def export(self) -> Iterator[Sequence[NewDocument]]:
        """Every document with its vector and image, in batches."""
        batch = rows_at_a_time(self.settings.dimensions)
        for rows in self._connection.walk(self.data_name, "", FIELDS, batch):
            yield self._all_exported(rows)

    def fetch(self, ids: Sequence[str]) -> Sequence[NewDocument]:
        """Those of the documents that there are, with vectors and images."""
        keys = list(dict.fromkeys(key_of(document_id) for document_id in ids))
        at_a_time = rows_at_a_time(self.settings.dimensions)
        return [
            exported
            for start in range(0, len(keys), at_a_time)
            for exported in self._all_exported(self._by_key(keys[start : start + at_a_time], FIELDS))
        ]

    def _all_exported(self, rows: Sequence[Mapping[str, Any]]) -> list[NewDocument]:
        exported = []
        for row in rows:
            with suppress(UnknownDocument):  # deleted since the row was read
                exported.append(self._exported(stored_row(row)))
        return exported

    def _exported(self, row: StoredRow) -> NewDocument:
        def read() -> NewDocument:
            nonlocal row
            try:
                whole = self._whole(row)
                image = None
                if row.image is not None and row.document.image_media_type is not None:
                    image = Image(self._parts.read([row.image])[0], row.document.image_media_type)
            except PartsMissing:
                row = self._row(row.document.id)
                raise
            return NewDocument(row.document.id, row.vector, whole.document.text, image, row.document.metadata)

        return _while_replaced(read)

    def _whole(self, row: StoredRow) -> StoredRow:
        """The row with its text, wherever that lies. Raises `PartsMissing`."""
        if row.text is None:
            return row
        text = self._parts.read([row.text])[0].decode()
        return replace(row, document=replace(row.document, text=text))

    def _row(self, document_id: str) -> StoredRow:
        rows = self._by_key([key_of(document_id)], FIELDS)
        if not rows:
            raise UnknownDocument(f"No document has the id {document_id!r}.")
        return stored_row(rows[0])

    def _rows(self, keys: Sequence[str]) -> list[StoredRow]:
        return [stored_row(row) for row in self._by_key(keys, ["key", "document"])]

    def _by_key(self, keys: Sequence[str], fields: list[str]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for start in range(0, len(keys), KEYS_AT_A_TIME):
            rows += self._query(fields, ids=list(keys[start : start + KEYS_AT_A_TIME]))
        return rows

    def _query(self, fields: list[str], **condition: Any) -> list[dict[str, Any]]:
        return list(
            self._connection.call(
                "query", self.data_name, output_fields=fields, consistency_level="Strong", **condition
            )
        )


def _while_replaced(read: Callable[[], Result]) -> Result:
    """Read again if a document's parts went away between reading it and them."""
    for _ in range(_ATTEMPTS):
        try:
            return read()
        except PartsMissing:
            continue
    raise StorageError(
        "A document's image or text is missing from Milvus, or is replaced again and again; "
        "write the document anew."
    )
