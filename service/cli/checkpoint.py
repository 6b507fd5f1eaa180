"""`solomon checkpoint`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.exits import Exit, fail
from service.cli.options import AsJson

app = typer.Typer(help="Look at checkpoints and build the base model.", no_args_is_help=True)

_SCORE_COLUMNS = {
    "route": "route",
    "queries": "queries",
    "candidates": "of",
    "precision_at_1": "P@1",
    "confidence": "CF",
    "embed_share": "/embed",
    "route_accuracy": "right route",
    "augment_tokens": "tokens",
}

Folder = Annotated[
    Path | None,
    typer.Argument(help="A checkpoint folder; else the server's own.", show_default=False),
]


def _folder(given: Path | None) -> Path:
    if given is not None:
        return given
    from service.cli.serve import load_settings

    return Path(load_settings().checkpoint)


@app.command("show")
def show(folder: Folder = None, as_json: AsJson = False) -> None:
    """Show a checkpoint's manifest: base, threshold, training, scores."""
    from model.checkpoint import read_manifest
    from model.errors import CheckpointError
    from service.cli.output import print_json, print_pairs, print_table

    try:
        manifest = read_manifest(_folder(folder))
    except CheckpointError as error:
        fail(str(error))
    members = manifest.model_dump(mode="json")
    if as_json:
        print_json(members)
        return
    scores = members.pop("scores")
    print_pairs(members)
    if scores:
        print_table(("scored on", *_SCORE_COLUMNS.values()), _score_rows(scores))


def _score_rows(scores: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[list[Any]]:
    """A row for each dataset and route choice."""
    for dataset, by_route in scores.items():
        for route, figures in by_route.items():
            known = {"route": route, **figures}
            yield [dataset, *(known.get(name) for name in _SCORE_COLUMNS)]


@app.command("verify")
def verify(folder: Folder = None, as_json: AsJson = False) -> None:
    """Check every file of a checkpoint against its SHA-256; exit code 1 if one differs."""
    from model.checkpoint import verify as verify_checkpoint
    from model.errors import CheckpointError
    from service.cli.output import print_json

    path = _folder(folder)
    try:
        manifest = verify_checkpoint(path)
    except CheckpointError as error:
        fail(str(error))
    if as_json:
        print_json({"folder": str(path), "files": manifest.files})
    else:
        typer.echo(f"{path}: every file is as its manifest says.")


@app.command("base")
def base(as_json: AsJson = False) -> None:
    """Build the mini base in the cache: fetch, verify and convert its weights (once)."""
    from model.errors import SolomonError
    from model.mini_base import ensure_mini_base
    from service.cli.output import print_json

    try:
        path = ensure_mini_base(progress=lambda message: typer.echo(message, err=True))
    except SolomonError as error:
        fail(str(error), Exit.FAILED)
    if as_json:
        print_json({"folder": str(path)})
    else:
        typer.echo(path)
