"""Embedding without a server: `Solomon.load().encode(texts)`, as users of Sentence Transformers know it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, cast

import numpy as np
from PIL import Image as PillowImage

from model.types import Embedder, Embedding, EmbedOptions, EngineInfo, InputType, Item, RouteChoice, Vector

Encodable = str | Item | PillowImage.Image | Path | dict[str, Any]
"""A text; an image, in memory or as a file; or both together: an `Item`, or a dict of `text` and `image`."""

DEFAULT_CHECKPOINT = Path(__file__).parent / "checkpoints" / "solomon-mini"


class Solomon:
    """A checkpoint in this process; use it in a `with`, or `close` it."""

    def __init__(self, embedder: Embedder) -> None:
        """Embed with an engine that is open; closing this closes it."""
        self._embedder = embedder

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
        return cls(Engine(loaded, EngineSettings(device=device, dtype=dtype, threads=threads)))

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
    ) -> Vector:
        """Vectors of unit length: [D] for one input, [N, D] for a list of them.

        A text that is too long is cut, as Sentence Transformers does, unless `truncate` is false. Raises
        `InputError` for what cannot be embedded.
        """
        one = not isinstance(inputs, list | tuple)
        given = [cast("Encodable", inputs)] if one else cast("Sequence[Encodable]", inputs)
        embeddings = self.embed(
            given,
            EmbedOptions(
                input_type=InputType(input_type),
                route=RouteChoice(route),
                instruction=instruction,
                augment_threshold=augment_threshold,
                max_augment_tokens=max_augment_tokens,
                truncate=truncate,
            ),
        )
        if one:
            return embeddings[0].vector
        if not embeddings:
            return np.zeros((0, self.info.dimensions), np.float32)
        return np.stack([embedding.vector for embedding in embeddings])

    def embed(self, inputs: Sequence[Encodable], options: EmbedOptions) -> list[Embedding]:
        """As `encode`, with everything that is known of each: route, confidence, augmentation."""
        return self._embedder.embed([as_item(given) for given in inputs], options)


def as_item(given: Encodable) -> Item:
    """An input as the engine takes it. Raises TypeError for what is none, OSError for an unreadable file."""
    match given:
        case Item():
            return given
        case str():
            return Item(given)
        case Path() | PillowImage.Image():
            return Item(image=_encoded(given))
        case dict():
            image = given.get("image")
            return Item(given.get("text") or None, None if image is None else _encoded(image))
    raise TypeError(f"A {type(given).__name__} cannot be embedded; give a text, an image, or a dict of both.")


def _encoded(image: PillowImage.Image | Path | bytes) -> bytes:
    if isinstance(image, bytes):
        return image
    if isinstance(image, Path):
        return image.read_bytes()
    if not isinstance(image, PillowImage.Image):
        raise TypeError(f"A {type(image).__name__} is no image; give one of Pillow's, a path or bytes.")
    buffer = BytesIO()
    (image if image.mode in ("RGB", "RGBA", "L") else image.convert("RGB")).save(buffer, "PNG")
    return buffer.getvalue()
