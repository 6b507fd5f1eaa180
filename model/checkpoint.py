"""A checkpoint's folder: what it holds, how it is verified, and how it becomes a model in memory.

    solomon.json               the manifest (below), with the SHA-256 of every other file
    adapter_config.json        the peft adapter (LoRA and the two route tokens' rows)
    adapter_model.safetensors
    vision.safetensors         the vision tower, where the base has none of its own

A plain Qwen2-VL (hub id or folder) loads by the same code: its route tokens take unused rows of the
embedding matrix and mean nothing until an adapter has trained them.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoConfig, AutoTokenizer, Qwen2VLForConditionalGeneration
from transformers.utils import logging as transformers_logging

from model import mini_base
from model.errors import CheckpointError
from model.images import ImageFormat
from model.loaded import LoadedModel
from model.prompts import AUGMENT_TOKEN, EMBED_TOKEN, PromptFormat, RouteTokens
from model.smollm import Progress, file_sha256

MANIFEST = "solomon.json"
VISION = "vision.safetensors"
_HUB_SECONDS = 10.0
_NO_NETWORK = frozenset({"ConnectError", "ConnectTimeout", "OfflineModeIsEnabled"})
LOCAL = "local"  # the revision of a base that no hub delivered
FORMAT_VERSION: Literal[1] = 1
_PIECES, _PIECE = 256, 64 * 1024  # of a file of weights, read for its identity


class Base(BaseModel):
    """The model under the adapter; `revision` is the hub's commit or the mini base's build."""

    model_config = ConfigDict(extra="forbid")

    model: str
    revision: str


class Manifest(BaseModel):
    """What a checkpoint says of itself."""

    model_config = ConfigDict(extra="forbid")

    format_version: Literal[1] = FORMAT_VERSION
    name: str
    base: Base
    route_tokens: dict[str, str] = Field(
        default_factory=lambda: {"embed": EMBED_TOKEN, "augment": AUGMENT_TOKEN}
    )
    pooling: Literal["eos"] = "eos"
    augment_threshold: float = Field(0.5, ge=0, le=1)
    max_prompt_tokens: int = Field(1024, gt=16)
    max_augment_tokens: int = Field(32, gt=0)
    prompt_format: dict[str, str] = Field(default_factory=lambda: asdict(PromptFormat()))
    image_format: dict[str, int | None] = Field(default_factory=lambda: asdict(ImageFormat()))
    training: dict[str, Any] = Field(default_factory=dict, description="Recipe, data and how it was run.")
    dimensions: list[int] = Field(
        default_factory=list,
        description="Prefixes trained to work by themselves (Matryoshka); empty: the whole vector only.",
    )
    scores: dict[str, Any] = Field(default_factory=dict, description="On development splits, by dataset.")
    licences: dict[str, str] = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict, description="SHA-256 of every other file, by name.")


def read_manifest(folder: Path) -> Manifest:
    """A checkpoint's manifest. Raises CheckpointError when it is missing or not of this format."""
    path = folder / MANIFEST
    if not path.is_file():
        raise CheckpointError(f"{folder} is no Solomon checkpoint: it has no {MANIFEST}.")
    try:
        raw = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}. Restore the checkpoint's folder.") from error
    version = raw.get("format_version") if isinstance(raw, dict) else None
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {version}; this Solomon reads {FORMAT_VERSION}. Use the Solomon "
            "that wrote it."
        )
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        raise CheckpointError(f"{path} is not a valid manifest: {error}") from error


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Write the manifest with the hashes of every file that lies in the folder now; returns it."""
    files = {
        path.name: file_sha256(path)
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != MANIFEST
    }
    complete = manifest.model_copy(update={"files": files})
    partial = folder / f"{MANIFEST}.partial"
    partial.write_text(complete.model_dump_json(indent=2) + "\n", "utf-8")
    partial.replace(folder / MANIFEST)
    return complete


def verify(folder: Path) -> Manifest:
    """Check every file against the manifest. Raises CheckpointError naming the first that is wrong."""
    manifest = read_manifest(folder)
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"{path} is missing. Restore the checkpoint's folder.")
        if file_sha256(path) != expected:
            raise CheckpointError(f"{path} is corrupt: its SHA-256 is not the manifest's. Restore it.")
    for required in ("adapter_config.json", "adapter_model.safetensors"):
        if required not in manifest.files:
            raise CheckpointError(
                f"The manifest of {folder} lists no {required}: the checkpoint is incomplete."
            )
    return manifest


def load_model(source: str | Path, progress: Progress = print) -> LoadedModel:
    """Load a Solomon checkpoint's folder, or a plain Qwen2-VL by hub id or folder.

    Raises CheckpointError or DownloadError, which say what to do.
    """
    folder = Path(source).expanduser()
    if (folder / MANIFEST).is_file():
        return _load_checkpoint(folder, progress)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise CheckpointError(f"{folder} holds neither a {MANIFEST} nor a Qwen2-VL's config.json.")
        return _load_plain(str(folder), progress)
    if str(source).startswith(("/", ".", "~")):
        raise CheckpointError(f"There is no folder {folder}. Give one with a checkpoint or a Qwen2-VL.")
    return _load_plain(str(source), progress)


def load_base(name: str, progress: Progress = print, revision: str | None = None) -> tuple[Any, Any]:
    """A base model and its tokenizer with the route tokens. Raises CheckpointError with the mend.

    The mini base is built if need be and loads in fp32 (adapters merge exactly); others in their own dtype.
    `revision` is a hub's commit, None for its newest; a folder and the mini base have one revision only.
    """
    mini = name == mini_base.NAME
    location = str(mini_base.ensure_mini_base(progress=progress)) if mini else name
    commit = "main" if revision is None or Path(location).is_dir() else revision
    transformers_logging.disable_progress_bar()
    # Without a network every file would be asked for five times, which takes most of a minute.
    source = {"revision": commit, "local_files_only": Path(location).is_dir() or not _hub_answers(location)}
    try:
        _require_qwen2_vl(location, source)
        tokenizer = AutoTokenizer.from_pretrained(location, **source)
        model, found = Qwen2VLForConditionalGeneration.from_pretrained(
            location,
            **source,
            dtype=torch.float32 if mini else "auto",
            use_safetensors=True,  # the other format can run code
            output_loading_info=True,
        )
        if missing := sorted(found["missing_keys"]):
            raise ValueError(f"it lacks weights, {missing[0]} for one.")
        _add_route_tokens(name, model, tokenizer)
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError, SafetensorError) as error:
        mend = (
            f"Remove {location} and start again: it is then built anew."
            if mini
            else "Give a folder with a Qwen2-VL (config.json, safetensors, tokenizer), or connect to its hub "
            "once so that it lands in the cache."
        )
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"The model '{name}' cannot be loaded: {reason} {mend}") from error
    if mini:
        mini_base.give_eyes(model)
    return model.eval(), tokenizer


def _hub_answers(name: str) -> bool:
    """Whether the hub can be asked for a model; where it cannot, what is in its cache must do."""
    try:
        HfApi().model_info(name, timeout=_HUB_SECONDS)
    except HfHubHTTPError:  # it answered: transformers tells what is wrong with the name
        return True
    except Exception as error:  # each HTTP library has its own way of saying that there is no network
        return not (isinstance(error, OSError) or type(error).__name__ in _NO_NETWORK)
    return True


def _require_qwen2_vl(location: str, source: dict[str, Any]) -> None:
    """Raise ValueError for a model of another kind, which would load in part."""
    kind = AutoConfig.from_pretrained(location, **source).model_type
    if kind != "qwen2_vl":
        raise ValueError(f"it is a {kind}, and Solomon serves Qwen2-VL.")


def base_revision(name: str, model: Any) -> str:
    """Which revision of a base was loaded: the mini base's build, a hub's commit, or "local"."""
    if name == mini_base.NAME:
        return mini_base.revision()
    return getattr(model.config, "_commit_hash", None) or LOCAL


def _load_checkpoint(folder: Path, progress: Progress) -> LoadedModel:
    from peft import PeftModel

    manifest = verify(folder)
    if manifest.base.model == mini_base.NAME and manifest.base.revision != mini_base.revision():
        raise CheckpointError(
            f"{folder} was trained on revision {manifest.base.revision} of {mini_base.NAME}; this Solomon "
            f"builds {mini_base.revision()}. Use the checkpoint that came with it."
        )
    model, tokenizer = load_base(manifest.base.model, progress, _hub_commit(manifest.base.revision))
    if VISION in manifest.files:
        _load_vision(model.model.visual, folder / VISION, whole=manifest.base.model == mini_base.NAME)
    # peft asks transformers for an attribute under its old name; nobody who serves can mend that.
    warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
    merged = PeftModel.from_pretrained(model, str(folder), low_cpu_mem_usage=True).merge_and_unload()
    return LoadedModel(
        model=merged.eval(),
        tokenizer=tokenizer,
        routes=RouteTokens.from_tokenizer(tokenizer),
        name=manifest.name,
        base=manifest.base.model,
        revision=manifest.base.revision,
        prompt_format=PromptFormat(**manifest.prompt_format),
        image_format=ImageFormat(**manifest.image_format),  # type: ignore[arg-type]
        threshold=manifest.augment_threshold,
        max_prompt_tokens=manifest.max_prompt_tokens,
        max_augment_tokens=manifest.max_augment_tokens,
        pooling=manifest.pooling,
        checkpoint_sha256=_checkpoint_identity(folder, manifest.base.model),
    )


def folder_identity(folder: Path) -> str:
    """A SHA-256 that tells a model's folder from one with other weights, wherever each lies.

    Of the weights it reads the sizes, what they begin with (names and shapes), and pieces spread evenly
    over the rest: training changes all of them, and many gigabytes would take long to read whole.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix not in (".json", ".safetensors", ".txt", ".model") or path.name == MANIFEST:
            continue
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            for at in range(0, size, max(_PIECE, size // _PIECES)):
                file.seek(at)
                digest.update(file.read(_PIECE))
    return digest.hexdigest()


def _identity(source: str, revision: str) -> str:
    """What tells a base's vectors from another's: a folder's content, else a name and its revision."""
    if Path(source).is_dir():
        return folder_identity(Path(source))
    return hashlib.sha256(f"{source}@{revision}".encode()).hexdigest()


def _checkpoint_identity(folder: Path, base: str) -> str:
    """The manifest's hash, which covers every file; on a base in a folder, together with that one's."""
    manifest = file_sha256(folder / MANIFEST)
    if not Path(base).is_dir():
        return manifest
    return hashlib.sha256(f"{manifest} {folder_identity(Path(base))}".encode()).hexdigest()


def _hub_commit(revision: str) -> str | None:
    """A manifest's base revision where it names a hub's commit; None for "local"."""
    return None if revision == LOCAL else revision


def _load_vision(tower: Any, path: Path, whole: bool) -> None:
    """Put a checkpoint's vision weights into the tower: all of it (`whole`), or the part that was trained."""
    weights = {name: tensor.to(tower.dtype) for name, tensor in load_file(path).items()}
    try:
        unexpected = tower.load_state_dict(weights, strict=whole).unexpected_keys
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit the base model's vision tower: {error}") from error
    if unexpected:
        raise CheckpointError(
            f"{path} does not fit the base model's vision tower: it has no {unexpected[0]}."
        )


def _load_plain(source: str, progress: Progress) -> LoadedModel:
    model, tokenizer = load_base(source, progress)
    progress(f"'{source}' has no Solomon adapter: its routes are untrained, so force them or train one.")
    revision = base_revision(source, model)
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        routes=RouteTokens.from_tokenizer(tokenizer),
        name=Path(source).name if Path(source).is_dir() else source,
        base=source,
        revision=revision,
        image_format=mini_base.IMAGE_FORMAT if source == mini_base.NAME else ImageFormat(square_side=None),
        checkpoint_sha256=_identity(source, revision),
    )


def _add_route_tokens(name: str, model: Any, tokenizer: Any) -> None:
    """Give the route tokens unused rows of the embedding matrix; nothing is resized."""
    tokenizer.add_tokens([EMBED_TOKEN, AUGMENT_TOKEN], special_tokens=True)
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise CheckpointError(
            f"'{name}' has {rows} embedding rows and its tokenizer needs {len(tokenizer)}: there is no "
            "unused row for the route tokens. Use a Qwen2-VL whose embedding matrix has spare rows."
        )
