"""How collections lie in Milvus: names, fields and kinds of index.

    solomon_name_<name>     an alias, and the one thing that makes a collection exist
    solomon_data_<uuid>     what the alias points to: a row for each document
    solomon_parts_<uuid>    its images and long texts

An alias is made, moved and removed atomically, and only one can have a name. So a collection that is made
by two replicas at once is made once, and one that is half made, half removed or being replaced is not
seen. A crash in such a moment leaves a pair that no alias names; it costs space and nothing else.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from index.milvus.terms import MAX_TERMS, SCALARS, TERMS
from index.types import InvalidInput, StorageError

FORMAT = 1
MAX_DIMENSIONS = 32_768
MAX_VARCHAR_BYTES = 65_535

DATA_PREFIX = "solomon_data_"
_PARTS_PREFIX = "solomon_parts_"
_ALIAS_PREFIX = "solomon_name_"
_SETTINGS = "solomon.settings"
HELD_BY = "solomon.held_by"  # a property: who keeps writes out until then
HELD_UNTIL = "solomon.held_until"  # a property: when writes are taken again, in seconds since 1970


@dataclass(frozen=True, slots=True)
class Hold:
    """Who keeps writes out of a collection, and until when, in seconds since 1970."""

    until: float
    holder: str


NOT_HELD = Hold(0.0, "")


@dataclass(frozen=True, slots=True)
class IndexKind:
    """A kind of index: Milvus's name for it, how it is built, and how it is searched for `limit` rows."""

    milvus: str
    build: Mapping[str, int]
    search: Mapping[str, int]
    effort: str | None = None  # the search parameter that must not be below the limit
    overfetch: int = 1  # its scores are rough, so this many times k are fetched and scored exactly

    def search_parameters(self, limit: int) -> dict[str, Any]:
        """The `search_params` of a search for `limit` rows."""
        parameters = dict(self.search)
        if self.effort is not None:
            parameters[self.effort] = max(parameters[self.effort], 2 * limit)
        return {"metric_type": "IP", "params": parameters}


# "auto" is Milvus's own choice (HNSW in the open-source server), except in Milvus Lite, where it is flat.
INDEX_KINDS: Mapping[str, IndexKind] = {
    "auto": IndexKind("AUTOINDEX", {}, {}),
    "flat": IndexKind("FLAT", {}, {}),
    "hnsw": IndexKind("HNSW", {"M": 16, "efConstruction": 200}, {"ef": 128}, effort="ef"),
    "ivf_sq8": IndexKind("IVF_SQ8", {"nlist": 1024}, {"nprobe": 64}, overfetch=4),
    "diskann": IndexKind("DISKANN", {}, {"search_list": 128}, effort="search_list"),
}


@dataclass(frozen=True, slots=True)
class CollectionSettings:
    """What a collection was made with, and the name of its rows; kept with them in Milvus."""

    data_name: str
    dimensions: int
    model: str
    index_kind: str

    def to_json(self) -> str:
        """The settings as they are stored."""
        return json.dumps(
            {
                "format": FORMAT,
                "data_name": self.data_name,
                "dimensions": self.dimensions,
                "model": self.model,
                "index_kind": self.index_kind,
            }
        )


@dataclass(frozen=True, slots=True)
class MilvusDefinition:
    """What `MilvusClient.create_collection` is given, and the indexes to make then."""

    options: Mapping[str, Any]
    indexes: Any


def alias_of(name: str) -> str:
    """The alias of a collection; Milvus's names know no hyphen."""
    return _ALIAS_PREFIX + name.replace("_", "__").replace("-", "_h")


def name_of(alias: str) -> str | None:
    """The collection that an alias names; None for an alias of someone else."""
    if not alias.startswith(_ALIAS_PREFIX):
        return None
    escaped = alias.removeprefix(_ALIAS_PREFIX)
    return "_".join(part.replace("_h", "-") for part in escaped.split("__"))


def new_data_name() -> str:
    """A name for the rows of a new collection."""
    return DATA_PREFIX + uuid.uuid4().hex


def parts_name(data_name: str) -> str:
    """The name of the parts beside these rows."""
    return _PARTS_PREFIX + data_name.removeprefix(DATA_PREFIX)


def check_milvus_dimensions(dimensions: int) -> None:
    """Raise `InvalidInput` for more dimensions than Milvus stores."""
    if dimensions > MAX_DIMENSIONS:
        raise InvalidInput(
            "dimensions", f"dimensions must be at most {MAX_DIMENSIONS} in Milvus.", "Keep fewer of them."
        )


def data_collection(settings: CollectionSettings, *, shards: int, is_lite: bool) -> MilvusDefinition:
    """The rows of a collection, whose writes are spread over shards."""
    from pymilvus import DataType, MilvusClient

    kind = INDEX_KINDS[settings.index_kind]
    schema = MilvusClient.create_schema(
        auto_id=False, enable_dynamic_field=False, description=settings.to_json()
    )
    schema.add_field("key", DataType.VARCHAR, is_primary=True, max_length=64)
    # Read for hits alone, so it is mapped from disk rather than held in memory.
    schema.add_field("document", DataType.VARCHAR, max_length=MAX_VARCHAR_BYTES, mmap_enabled=True)
    schema.add_field(TERMS, DataType.ARRAY, element_type=DataType.INT64, max_capacity=MAX_TERMS)
    schema.add_field(SCALARS, DataType.JSON)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=settings.dimensions)
    indexes = MilvusClient.prepare_index_params()
    indexes.add_index("vector", index_type=kind.milvus, metric_type="IP", params=dict(kind.build))
    if not is_lite:  # Milvus Lite has no index on arrays
        indexes.add_index(TERMS, index_type="INVERTED")
    # Milvus Lite keeps no description, so the settings are also a property.
    properties = {_SETTINGS: settings.to_json()}
    return MilvusDefinition(
        {
            "schema": schema,
            "num_shards": shards,
            "consistency_level": "Strong",
            "properties": properties,
        },
        indexes,
    )


def parts_collection() -> MilvusDefinition:
    """The parts of a collection's documents."""
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("key", DataType.VARCHAR, is_primary=True, max_length=64)
    schema.add_field("data", DataType.VARCHAR, max_length=MAX_VARCHAR_BYTES)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
    indexes = MilvusClient.prepare_index_params()
    indexes.add_index("vector", index_type="FLAT", metric_type="IP")
    # Images are read one at a time, so they are mapped from disk rather than held in memory.
    properties = {"mmap.enabled": "true"}
    return MilvusDefinition(
        {"schema": schema, "consistency_level": "Strong", "properties": properties}, indexes
    )


def read_settings(described: Mapping[str, Any]) -> CollectionSettings:
    """The settings in an answer of `describe_collection`. Raises `StorageError` if it has none."""
    stored = described.get("properties", {}).get(_SETTINGS) or described.get("description", "")
    try:
        settings = json.loads(stored)
        if settings["format"] != FORMAT:
            raise StorageError(
                f"The collection {described['collection_name']} in Milvus has format {settings['format']}; "
                f"this version reads format {FORMAT}."
            )
        return CollectionSettings(
            settings["data_name"], settings["dimensions"], settings["model"], settings["index_kind"]
        )
    except (ValueError, TypeError, KeyError) as error:
        raise StorageError(
            f"The collection {described['collection_name']} in Milvus was not made by Solomon."
        ) from error


def read_hold(described: Mapping[str, Any]) -> Hold:
    """The hold on writes that an answer of `describe_collection` tells of."""
    properties = described.get("properties", {})
    return Hold(float(properties.get(HELD_UNTIL) or 0), str(properties.get(HELD_BY) or ""))
