"""`solomon embed`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from service.cli.exits import Exit, fail
from service.cli.options import DEFAULT_URL, AsJson, RouteOption, Threshold, Url

if TYPE_CHECKING:
    from model.types import EmbedOptions, Item


def embed(
    text: Annotated[str | None, typer.Argument(help="The text; may be left out with --image.")] = None,
    image: Annotated[Path | None, typer.Option(help="An image file.", exists=True, dir_okay=False)] = None,
    input_type: Annotated[
        Literal["query", "document"], typer.Option(help="Queries are routed, documents are not.")
    ] = "query",
    route: RouteOption = "auto",
    augment_threshold: Threshold = None,
    instruction: Annotated[str | None, typer.Option(help="What to look for.")] = None,
    url: Url = DEFAULT_URL,
    offline: Annotated[bool, typer.Option("--offline", help="Load the model here; needs no server.")] = False,
    as_json: AsJson = False,
) -> None:
    """Embed one item: a text, an image, or both together."""
    if text is None and image is None:
        fail("Give a text, --image FILE, or both.", Exit.USAGE)
    if offline:
        answer = _embed_offline(text, image, input_type, route, augment_threshold, instruction)
    else:
        answer = _embed_on_server(url, text, image, input_type, route, augment_threshold, instruction)
    _show(answer, as_json)


def _embed_on_server(
    url: str,
    text: str | None,
    image: Path | None,
    input_type: str,
    route: str,
    augment_threshold: float | None,
    instruction: str | None,
) -> dict[str, Any]:
    from service.cli.client import Client
    from service.cli.inputs import item

    body: dict[str, Any] = {"input": item(text, image), "input_type": input_type, "route": route}
    if instruction is not None:
        body["instruction"] = instruction
    if augment_threshold is not None:
        body["augment_threshold"] = augment_threshold
    with Client(url) as client:
        return client.call("POST", "/embed", body)


def _embed_offline(
    text: str | None,
    image: Path | None,
    input_type: str,
    route: str,
    augment_threshold: float | None,
    instruction: str | None,
) -> dict[str, Any]:
    from model.types import EmbedOptions, InputType, Item, RouteChoice

    options = EmbedOptions(InputType(input_type), instruction, RouteChoice(route), augment_threshold)
    return _run_engine(Item(text, None if image is None else image.read_bytes()), options)


def _run_engine(item: Item, options: EmbedOptions) -> dict[str, Any]:
    from model.errors import InputError, SolomonError
    from service.cli.serve import load_settings
    from service.logs import configure_logging
    from service.startup import open_engine

    settings = load_settings()
    configure_logging("warning", "console")
    try:
        engine = open_engine(settings)
    except SolomonError as error:
        fail(str(error))
    try:
        [embedding] = engine.embed([item], options)
    except InputError as error:
        fail(f"{error.field}: {error}", Exit.USAGE)
    except SolomonError as error:
        fail(str(error))
    finally:
        engine.close()
    return {
        "model": engine.info.model,
        "dimensions": engine.info.dimensions,
        "data": [
            {
                "index": 0,
                "embedding": embedding.vector.tolist(),
                "route": embedding.route,
                "confidence": embedding.confidence,
                "augmentation": embedding.augmentation,
                "augment_tokens": embedding.augment_tokens,
            }
        ],
    }


def _show(answer: dict[str, Any], as_json: bool) -> None:
    from service.cli.output import print_json, print_pairs

    if as_json:
        print_json(answer)
        return
    [entry] = answer["data"]
    head = ", ".join(f"{value:.4f}" for value in entry["embedding"][:6])
    print_pairs(
        {
            "model": answer["model"],
            "route": entry["route"],
            "confidence": None if entry["confidence"] is None else f"{entry['confidence']:.3f}",
            "augmentation": entry["augmentation"],
            "vector": f"[{head}, ...] of {answer['dimensions']}",
        }
    )
