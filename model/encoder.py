"""Embedding without a server: `Solomon.load().encode(texts)`, as users of Sentence Transformers know it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict, Unpack, cast, overload

import numpy as np

from model.encodable import Encodable, as_item
from model.types import Embedder, Embedding, EmbedOptions, EngineInfo, InputType, RouteChoice, Vector

if TYPE_CHECKING:
    import torch

    Vectors = Vector | torch.Tensor | Sequence[Vector] | Sequence[torch.Tensor]

DEFAULT_CHECKPOINT = Path(__file__).parent / "checkpoints" / "solomon-mini"

_SHOWN_AT_ONCE = 64  # inputs a step of the progress bar


class EncodeOptions(TypedDict, total=False):
    """The options that `encode`, `encode_query` and `encode_document` share; see `Solomon.encode`."""

    route: RouteChoice | Literal["auto", "embed", "augment"]
    instruction: str | None
    augment_threshold: float | None
    max_augment_tokens: int | None
    truncate: bool
    batch_size: int | None
    show_progress_bar: bool | None
    normalize_embeddings: bool


class Solomon:
    """A checkpoint in this process; use it in a `with`, or `close` it.

    `overrides` is what `load` was told to do otherwise than the checkpoint and the machine ask for, as far
    as it changes the vectors: `augment_threshold` and `dtype`.
    """

    def __init__(self, embedder: Embedder, overrides: Mapping[str, Any] | None = None) -> None:
        """Embed with an engine that is open; closing this closes it."""
        self._embedder = embedder
        self.overrides = dict(overrides or {})

    @classmethod
    def load(
        cls,
        checkpoint: str | Path = DEFAULT_CHECKPOINT,
        *,
        device: str | None = None,
        dtype: Literal["auto", "float32", "bfloat16"] = "auto",
        threads: int | None = None,
        augment_threshold: float | None = None,
    ) -> Self:
        """Load a checkpoint's folder, or a Qwen2-VL from the hub; the shipped one when left out.

        Raises `CheckpointError` or `DownloadError`, which say what to do.
        """
        from model.checkpoint import load_model
        from model.engine import Engine, EngineSettings

        loaded = load_model(checkpoint)
        if augment_threshold is not None:
            loaded = replace(loaded, threshold=augment_threshold)
        engine = Engine(loaded, EngineSettings(device=device, dtype=dtype, threads=threads))
        told = {"augment_threshold": augment_threshold, "dtype": None if dtype == "auto" else dtype}
        return cls(engine, {name: value for name, value in told.items() if value is not None})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the engine."""
        self._embedder.close()

    @property
    def info(self) -> EngineInfo:
        """What is loaded: name, dimensions, threshold, device."""
        return self._embedder.info

    @overload
    def encode(
        self,
        inputs: Encodable | Sequence[Encodable],
        *,
        input_type: InputType | Literal["query", "document"] = ...,
        convert_to_numpy: Literal[True] = ...,
        convert_to_tensor: Literal[False] = ...,
        **options: Unpack[EncodeOptions],
    ) -> Vector: ...

    @overload
    def encode(
        self,
        inputs: Encodable | Sequence[Encodable],
        *,
        input_type: InputType | Literal["query", "document"] = ...,
        convert_to_numpy: bool = ...,
        convert_to_tensor: bool = ...,
        **options: Unpack[EncodeOptions],
    ) -> Vector | torch.Tensor | list[torch.Tensor]: ...

    def encode(
        self,
        inputs: Encodable | Sequence[Encodable],
        *,
        input_type: InputType | Literal["query", "document"] = InputType.QUERY,
        route: RouteChoice | Literal["auto", "embed", "augment"] = RouteChoice.AUTO,
        instruction: str | None = None,
        augment_threshold: float | None = None,
        max_augment_tokens: int | None = None,
        truncate: bool = True,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        normalize_embeddings: bool = True,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
    ) -> Vector | torch.Tensor | list[torch.Tensor]:
        """Vectors of unit length: [D] for one input, [N, D] for a list of them.

        A text that is too long is cut, as Sentence Transformers does, unless `truncate` is false. Its other
        options mean what they mean there, as far as they can:

        - `batch_size` changes nothing: the engine makes batches of its own, as large as its memory allows.
        - `show_progress_bar` shows one on standard error; None is no bar.
        - `normalize_embeddings=False` is refused, since vectors always have unit length.
        - `convert_to_tensor` returns a tensor of torch, and `convert_to_numpy=False` a list of tensors [D].

        Raises `InputError` for what cannot be embedded, and ValueError for an option that cannot be had.
        """
        if not normalize_embeddings:
            raise ValueError("Vectors always have unit length; leave out normalize_embeddings=False.")
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; leave it out, or give 1 or more.")
        one = not isinstance(inputs, list | tuple)
        given = [cast("Encodable", inputs)] if one else cast("Sequence[Encodable]", inputs)
        options = EmbedOptions(
            input_type=InputType(input_type),
            route=RouteChoice(route),
            instruction=instruction,
            augment_threshold=augment_threshold,
            max_augment_tokens=max_augment_tokens,
            truncate=truncate,
        )
        embeddings = self._embed_shown(given, options) if show_progress_bar else self.embed(given, options)
        vectors = self._stacked(embeddings)
        if convert_to_numpy and not convert_to_tensor:
            return cast("Vector", vectors[0]) if one else vectors
        import torch

        tensor = torch.from_numpy(vectors)
        if one:
            return tensor[0]
        return tensor if convert_to_tensor else list(tensor)

    def encode_query(
        self, inputs: Encodable | Sequence[Encodable], **options: Unpack[EncodeOptions]
    ) -> Vector:
        """`encode` for queries, which are routed; tensors come from `encode` itself."""
        return self.encode(inputs, input_type=InputType.QUERY, **options)

    def encode_document(
        self, inputs: Encodable | Sequence[Encodable], **options: Unpack[EncodeOptions]
    ) -> Vector:
        """`encode` for documents, which are pooled at once."""
        return self.encode(inputs, input_type=InputType.DOCUMENT, **options)

    def similarity(self, embeddings1: Vectors, embeddings2: Vectors) -> torch.Tensor:
        """Cosine similarities [N, M] of each of N vectors with each of M; one vector [D] counts as [1, D]."""
        from torch.nn.functional import normalize

        return normalize(_matrix(embeddings1), dim=1) @ normalize(_matrix(embeddings2), dim=1).T

    def embed(self, inputs: Sequence[Encodable], options: EmbedOptions) -> list[Embedding]:
        """As `encode`, with everything that is known of each: route, confidence, augmentation."""
        return self._embedder.embed([as_item(given) for given in inputs], options)

    def _embed_shown(self, inputs: Sequence[Encodable], options: EmbedOptions) -> list[Embedding]:
        from rich.console import Console
        from rich.progress import track

        steps = [inputs[start : start + _SHOWN_AT_ONCE] for start in range(0, len(inputs), _SHOWN_AT_ONCE)]
        shown = track(steps, "Embedding", console=Console(stderr=True))
        return [embedding for step in shown for embedding in self.embed(step, options)]

    def _stacked(self, embeddings: Sequence[Embedding]) -> Vector:
        if not embeddings:
            return np.zeros((0, self.info.dimensions), np.float32)
        return np.stack([embedding.vector for embedding in embeddings])


def _matrix(vectors: Vectors) -> torch.Tensor:
    """Vectors in any of the forms that `encode` returns, as [N, D]."""
    import torch

    if isinstance(vectors, torch.Tensor | np.ndarray):
        matrix = torch.as_tensor(vectors)
    elif len(vectors):
        matrix = torch.stack([torch.as_tensor(vector) for vector in vectors])
    else:
        matrix = torch.zeros(0, 0)
    return matrix.float() if matrix.ndim > 1 else matrix.float()[None]
