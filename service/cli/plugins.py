"""Commands that other packages announce under the entry points `solomon.commands` (see pyproject.toml)."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

import typer

from model.installing import install_command
from service.cli.exits import fail

GROUP = "solomon.commands"
_PASS_ALL = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
_HELP = {
    "data": "Build training and evaluation data in MMEB's format (see `solomon data --help`).",
    "evaluate": "Score a checkpoint and write a report (see `solomon evaluate --help`).",
    "pilot": "Find out which datasets and queries gain from augmentation (see `solomon pilot --help`).",
    "synthesize": "Get augmentations from a teacher (see `solomon synthesize --help`).",
    "train": "Train a checkpoint: vision tower, recipe (see `solomon train --help`).",
}
_EXTRA = "train"  # every command that is announced so far needs the training package's libraries


def run_plugin(entry: EntryPoint, arguments: list[str]) -> None:
    """Load an announced Typer application and give it the command line's rest."""
    try:
        application = entry.load()
    except ModuleNotFoundError as error:
        fail(f"`solomon {entry.name}` needs {error.name}: {install_command(_EXTRA)}")
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
