"""`solomon serve`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.exits import Exit, fail

if TYPE_CHECKING:
    from service.settings import Settings


def load_settings(**given: Any) -> Settings:
    """Settings from the environment, with the options that were given on top; ends on a bad one."""
    from pydantic import ValidationError

    from service.settings import Settings

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        fail("; ".join(_explain(entry) for entry in error.errors()), Exit.USAGE)


def _explain(entry: Any) -> str:
    message = str(entry["msg"]).removeprefix("Value error, ")
    if not entry["loc"]:
        return message
    name = str(entry["loc"][0])
    return f"{name} (SOLOMON_{name.upper()}): {message}"


def _warn_of_misspelt_settings() -> None:
    import os

    import structlog

    from service.environment import not_settings

    log = structlog.get_logger("solomon.startup")
    for name, meant in not_settings(os.environ).items():
        log.warning("no setting has this name; it is ignored", variable=name, did_you_mean=meant)


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; else 127.0.0.1.", show_default=False)
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; else 8080.", show_default=False)
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of the collections; else ~/.local/share/solomon.", show_default=False),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a Solomon checkpoint; else the one that is shipped.", show_default=False
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Hub id or local folder of a Qwen2-VL model, in place of the checkpoint."),
    ] = None,
    demo: Annotated[
        bool | None,
        typer.Option(
            "--demo/--no-demo", help="Index the demo corpus on the first start; else yes.", show_default=False
        ),
    ] = None,
) -> None:
    """Serve HTTP until interrupted.

    Every setting is an environment variable, SOLOMON_ and its name, such as
    SOLOMON_PORT and SOLOMON_API_KEYS; the README lists them all. An option
    wins over its variable.
    """
    settings = load_settings(
        host=host, port=port, data_dir=data_dir, checkpoint=checkpoint, model=model, demo=demo
    )
    from index.log_names import show_names
    from model.allocation import share_arenas
    from service.listening import why_not_listen
    from service.logs import configure_logging
    from service.server import run_server

    refused = why_not_listen(settings.host, settings.port)
    if refused is not None:  # told now, not after the model has loaded
        fail(f"The server could not start: {refused}")
    share_arenas()
    configure_logging(settings.log_level, settings.log_format)
    show_names(settings.log_content)
    _warn_of_misspelt_settings()
    failure = run_server(settings)
    if failure is not None:
        fail(f"The server could not start: {failure}")
