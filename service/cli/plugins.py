"""Commands that other packages announce under the entry points `solomon.commands` (training: `train`)."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

import typer

from service.cli.exits import fail

GROUP = "solomon.commands"
_PASS_ALL = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
_HELP = {"train": "Train a checkpoint: data, recipe, evaluation (see `solomon train --help`)."}


def run_plugin(entry: EntryPoint, arguments: list[str]) -> None:
    """Load an announced Typer application and give it the command line's rest."""
    try:
        application = entry.load()
    except ModuleNotFoundError as error:
        fail(f"`solomon {entry.name}` needs {error.name}: pip install 'solomon-embed[{entry.name}]'")
    typer.main.get_command(application).main(args=arguments, prog_name=f"solomon {entry.name}")


def add_plugins(app: typer.Typer) -> None:
    """Give `app` a command for each entry point; nothing of it is imported before it runs."""
    for entry in entry_points(group=GROUP):
        app.command(
            entry.name,
            help=_HELP.get(entry.name, f"Provided by {entry.value.partition(':')[0]}."),
            context_settings=_PASS_ALL,
            add_help_option=False,
        )(_command(entry))


def _command(entry: EntryPoint) -> Callable[[typer.Context], None]:
    def run(context: typer.Context) -> None:
        run_plugin(entry, context.args)

    return run
