"""`solomon embed --offline`: the model in this process, without a server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.cli.asking import Asking
from service.cli.exits import Exit, fail
from service.cli.inputs import Given

if TYPE_CHECKING:
    from model.types import Embedder, Embedding, EmbedOptions, Item


def embed_offline(given: Sequence[Given], asking: Asking) -> dict[str, Any]:
    """The answer to items, in the members that the server's has too; every problem ends the command."""
    from model.errors import SolomonError
    from service.cli.serve import load_settings
    from service.logs import configure_logging
    from service.startup import open_engine

    options = _options(asking)
    items = [_item(each) for each in given]
    settings = load_settings()
    configure_logging("warning", "console")
    try:
        engine = open_engine(settings)
        try:
            dimensions = _dimensions(asking, engine)
            embeddings = _embed(engine, given, items, options)
        finally:
            engine.close()
    except SolomonError as error:
        fail(str(error))
    return {
        "model": engine.info.model,
        "dimensions": dimensions,
        "data": [_entry(index, embedding, dimensions) for index, embedding in enumerate(embeddings)],
    }


def _options(asking: Asking) -> EmbedOptions:
    from model.types import EmbedOptions, InputType, RouteChoice
    from service.schemas.embed import check_route

    input_type, route = InputType(asking.input_type), RouteChoice(asking.routing.route)
    try:
        check_route(input_type, route, "set --input-type to query")
    except ValueError as error:
        fail(str(error), Exit.USAGE)
    return EmbedOptions(
        input_type=input_type,
        instruction=asking.routing.instruction,
        route=route,
        augment_threshold=asking.routing.augment_threshold,
        max_augment_tokens=asking.routing.max_augment_tokens,
        truncate=asking.truncate,
    )


def _item(given: Given) -> Item:
    from model.types import Item

    image = given.item.image
    if isinstance(image, Path):
        try:
            return Item(given.item.text, image.read_bytes())
        except OSError as error:
            fail(f"{given.source}, image: {image} cannot be read ({error.strerror}).", Exit.USAGE)
    if image is not None:
        fail(f"{given.source}, image: --offline fetches none; give a file.", Exit.USAGE)
    return Item(given.item.text)


def _dimensions(asking: Asking, engine: Embedder) -> int:
    from service.problems import Problem
    from service.vectors import check_dimensions

    try:
        return check_dimensions(asking.dimensions, engine.info.dimensions)
    except Problem as problem:
        fail(str(problem), Exit.USAGE)


def _embed(
    engine: Embedder, given: Sequence[Given], items: Sequence[Item], options: EmbedOptions
) -> list[Embedding]:
    from model.errors import InputError

    try:
        return engine.embed(items, options)
    except InputError as error:
        at_fault = _first_refused(engine, items, options) if len(items) > 1 else None
        where = "" if at_fault is None else f"{given[at_fault].source}, "
        fail(f"{where}{error.field}: {error}", Exit.USAGE)


def _first_refused(engine: Embedder, items: Sequence[Item], options: EmbedOptions) -> int | None:
    """The engine does not say which item it refuses; the one that it refuses alone is it."""
    from model.errors import InputError

    for index, item in enumerate(items):
        try:
            engine.embed([item], options)
        except InputError:
            return index
    return None


def _entry(index: int, embedding: Embedding, dimensions: int) -> dict[str, Any]:
    from service.vectors import shorten

    return {
        "index": index,
        "embedding": shorten(embedding.vector, dimensions).tolist(),
        "route": embedding.route,
        "confidence": embedding.confidence,
        "augmentation": embedding.augmentation,
        "augment_tokens": embedding.augment_tokens,
    }
