"""Every setting of the server: its `SOLOMON_…` environment variable, its default and its check."""

from __future__ import annotations

import ipaddress
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from platformdirs import user_data_path
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from index.opening import check_milvus, is_milvus
from index.settings import FLAT_THRESHOLD
from service.auth.keys import configured_keys, read_key_file
from service.schemas.items import MAX_ITEMS

DEFAULT_CHECKPOINT = "solomon-mini"
FAISS = "faiss"
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:\d+)?", re.ASCII)


def default_checkpoint() -> Path:
    """The checkpoint folder that is committed beside the model package."""
    spec = find_spec("model")
    if spec is None or spec.origin is None:
        raise RuntimeError("The package 'model' is not installed; run `make setup`.")
    return Path(spec.origin).parent / "checkpoints" / DEFAULT_CHECKPOINT


def default_data_dir() -> Path:
    """Where this platform keeps an application's data (Linux: ~/.local/share/solomon)."""
    return user_data_path("solomon", appauthor=False)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address that is bound to `host`."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _split_commas(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _check_store(value: str) -> str:
    if value == FAISS:
        return value
    if not is_milvus(value):
        raise ValueError(f"{value!r} is neither {FAISS!r}, nor a URI of Milvus, nor a path ending in .db")
    return check_milvus(value)


def _lower_hosts(hosts: tuple[str, ...]) -> tuple[str, ...]:
    for host in hosts:
        if "/" in host or ":" in host or "*" in host:
            raise ValueError(f"{host!r} is not a bare host name such as images.example.org")
    return tuple(host.lower().rstrip(".") for host in hosts)


def _check_origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    for origin in origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise ValueError(f"{origin!r} is not an origin such as https://shop.example, without a path")
    return tuple(origin.lower() for origin in origins)


Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_split_commas)]
Hosts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas), AfterValidator(_lower_hosts)]

Origins = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas), AfterValidator(_check_origins)]


class Settings(BaseSettings):
    """What an operator can set, each as `SOLOMON_<NAME>` in the environment."""

    model_config = SettingsConfigDict(
        env_prefix="SOLOMON_", extra="ignore", frozen=True, env_ignore_empty=True
    )

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    allow_open: bool = Field(
        False, description="Serve an address that other machines can reach although no API key is set."
    )
    api_keys: Secrets = Field(
        (),
        description="Comma-separated API keys, plain (with every scope) or lines of `solomon key new`; every "
        "call but health needs one.",
    )
    api_keys_file: Path | None = Field(
        None, description="File of API keys, a line of `solomon key new` each; read again when it changes."
    )

    allowed_hosts: Hosts = Field(
        (),
        description="Comma-separated host names to answer to besides localhost and 127.0.0.1; unset: any, "
        "but only those two on a loopback address without API keys.",
    )

    cors_origins: Origins = Field(
        (),
        description="Comma-separated origins of web pages that may call, such as https://shop.example; none "
        "by default. '*' is every page, and needs API keys.",
    )

    data_dir: Path = Field(
        default_factory=default_data_dir, description="Folder of the collections; one server at a time."
    )
    store: Annotated[str, AfterValidator(_check_store)] = Field(
        FAISS,
        description="Where collections live: 'faiss', on this machine in the data directory; the URI of a "
        "Milvus, such as http://milvus:19530/database; or a Milvus Lite database, a path ending in .db.",
    )
    milvus_token: SecretStr | None = Field(None, description="Milvus's token, or its user:password.")
    milvus_index: Literal["auto", "flat", "hnsw", "ivf_sq8", "diskann"] = Field(
        "auto", description="Kind of index of the collections that are made in Milvus."
    )
    milvus_shards: int = Field(
        1, ge=1, le=16, description="Shards of the collections that are made in Milvus; they spread writes."
    )
    milvus_replicas: int = Field(
        1, ge=1, description="Copies of new collections in Milvus's query nodes; they spread searches."
    )
    milvus_consistency: Literal["Strong", "Session", "Bounded", "Eventually"] = Field(
        "Strong",
        description="What a search in Milvus sees: every acknowledged write, this server's own, those older "
        "than some seconds, or what happens to be there.",
    )
    index_kind: Literal["auto", "flat", "hnsw", "ivf"] = Field(
        "auto", description="How neighbours are found; auto: flat, and approximate in large collections."
    )
    index_recall_floor: float = Field(
        0.95, gt=0, le=1, description="Least recall@10 of an approximate index; below it, another is used."
    )
    index_flat_threshold: int = Field(
        FLAT_THRESHOLD, ge=1, description="Documents from which a collection's index is approximate in auto."
    )
    index_gpu: bool = Field(False, description="Train and search inverted files on a GPU (extra 'gpu').")
    checkpoint: Path = Field(
        default_factory=default_checkpoint, description="Folder of a Solomon checkpoint (holds solomon.json)."
    )
    model: str | None = Field(
        None, description="Hub id or local folder of a Qwen2-VL model, served in place of the checkpoint."
    )
    device: str | None = Field(
        None, description="Torch device ('cpu', 'cuda', 'cuda:1'); unset: the best one."
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field("auto", description="Weights' precision.")
    threads: int | None = Field(
        None,
        ge=1,
        description="CPU threads of the model; unset: the cores that the process may use.",
    )
    augment_threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        description="P(/augment) from which a query is augmented; unset: the checkpoint's own.",
    )
    max_batch_size: int | None = Field(None, ge=1, description="Most sequences in one forward pass.")
    max_batch_tokens: int | None = Field(
        None,
        ge=16,  # as model.engine.settings has it, which brings torch along
        description="Most prompt tokens of one forward pass; longer prompts take several, between which "
        "others have their turn. Unset: 512 on a CPU, 4096 on a GPU.",
    )
    max_decoding: int = Field(
        32, ge=1, description="Most answers written at once; each keeps a place in the KV cache."
    )
    max_augment_tokens: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="Most tokens of an answer, asked for or not; unset: 128, or what the checkpoint writes "
        "by itself if that is more.",
    )
    vision_cache_bytes: int = Field(
        256 * 2**20, ge=0, description="Memory for images' features, kept for images that come again."
    )
    embedding_cache_items: int = Field(
        0, ge=0, description="Finished embeddings to remember for items that come again exactly; 0: none."
    )

    max_items: int = Field(256, ge=1, le=MAX_ITEMS, description="Most items of one call.")
    max_queue: int = Field(
        1024, ge=1, description="Most items waiting for the model; beyond it calls get 429."
    )
    max_body_bytes: int = Field(32 * 2**20, ge=1024, description="Largest request body.")
    max_total_body_bytes: int = Field(
        256 * 2**20,
        ge=1024,
        description="Most bytes of bodies and fetched images in memory; beyond it calls get 429.",
    )
    body_timeout_seconds: float = Field(60.0, gt=0, description="Time for a request body to arrive.")
    max_connections: int = Field(
        1000, ge=1, description="Most connections at once; further ones are closed unanswered."
    )
    max_backup_bytes: int = Field(
        256 * 2**30, ge=1024, description="Largest file that a collection is restored from."
    )
    max_image_bytes: int = Field(20 * 2**20, ge=1024, le=20 * 2**20, description="Largest encoded image.")
    request_timeout_seconds: float = Field(60.0, gt=0, description="Deadline of a query.")
    ingest_timeout_seconds: float = Field(600.0, gt=0, description="Deadline of a call that adds documents.")

    image_url_hosts: Hosts = Field(
        (), description="Comma-separated hosts from which https image URLs may be fetched; none by default."
    )
    image_url_timeout_seconds: float = Field(10.0, gt=0, description="Deadline of one image download.")

    drain_seconds: float = Field(
        0.0,
        ge=0,
        description="After SIGTERM, how long calls are still taken in while /readyz says no, so that whoever "
        "sends them can turn elsewhere.",
    )
    grace_seconds: float = Field(
        30.0, gt=0, description="How long calls in flight may take to finish once no more are taken in."
    )
    keep_alive_seconds: int = Field(
        75,
        ge=1,
        description="How long an idle connection is kept; longer than whatever is in front keeps it.",
    )

    demo: bool = Field(True, description="Index the demo corpus into 'default' on the first start.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level logged.")
    log_format: Literal["json", "console"] = Field("json", description="One JSON object a line, or text.")
    log_content: bool = Field(
        False,
        description="Log the texts of queries, what the model wrote, and names of collections and ids; "
        "images and keys never are.",
    )
    otlp_endpoint: str | None = Field(
        None,
        description="Where traces go, such as http://collector:4318/v1/traces (extra 'otel'); unset: as the "
        "standard OTEL_EXPORTER_OTLP_ENDPOINT says, else nowhere.",
    )

    @property
    def needs_key(self) -> bool:
        """Whether every call but health needs an API key."""
        return bool(self.api_keys) or self.api_keys_file is not None

    @property
    def checks_host(self) -> bool:
        """Whether the Host header decides if a call is answered."""
        return bool(self.allowed_hosts) or (is_loopback(self.host) and not self.needs_key)

    @field_validator("api_keys")
    @classmethod
    def _check_keys(cls, entries: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        configured_keys(entry.get_secret_value() for entry in entries)
        return entries

    @field_validator("api_keys_file")
    @classmethod
    def _check_key_file(cls, path: Path | None) -> Path | None:
        if path is not None:
            try:
                read_key_file(path)
            except OSError as error:
                raise ValueError(f"{path} cannot be read: {error.strerror}") from None
        return path

    @model_validator(mode="after")
    def _check_exposure(self) -> Self:
        if not is_loopback(self.host) and not self.needs_key and not self.allow_open:
            raise ValueError(
                f"host {self.host} can be reached by other machines and no API key is set: set "
                "SOLOMON_API_KEYS or SOLOMON_API_KEYS_FILE, listen on 127.0.0.1, or set "
                "SOLOMON_ALLOW_OPEN=true if something in front checks callers"
            )
        return self

    @model_validator(mode="after")
    def _check_cors(self) -> Self:
        if "*" in self.cors_origins and not self.needs_key:
            raise ValueError(
                "cors_origins is '*' and no API key is set, so every web page could use the server through "
                "its visitors: set SOLOMON_API_KEYS, or name the origins"
            )
        return self

    @model_validator(mode="after")
    def _check_bodies(self) -> Self:
        if self.max_total_body_bytes < self.max_body_bytes:
            raise ValueError(
                f"max_total_body_bytes ({self.max_total_body_bytes}) is below max_body_bytes "
                f"({self.max_body_bytes}): raise SOLOMON_MAX_TOTAL_BODY_BYTES or lower SOLOMON_MAX_BODY_BYTES"
            )
        return self

    @model_validator(mode="after")
    def _check_queue(self) -> Self:
        if self.max_queue < self.max_items:
            raise ValueError(
                f"max_queue ({self.max_queue}) is below max_items ({self.max_items}), so a full call could "
                "never be accepted: raise SOLOMON_MAX_QUEUE or lower SOLOMON_MAX_ITEMS"
            )
        return self
