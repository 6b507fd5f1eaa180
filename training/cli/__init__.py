"""The commands of the training package, a file for each; `pyproject.toml` announces the applications.

An application with one command is that command itself (`solomon evaluate CHECKPOINT`), unless it has a
callback (`solomon data mini`). What is heavy (torch, transformers, matplotlib) is imported by the commands
when they run, so that `--help` stays quick.
"""

from __future__ import annotations

import typer

from training.cli.data import check, mini
from training.cli.evaluate import evaluate
from training.cli.joint import accelerate_config, joint
from training.cli.mine import mine
from training.cli.pilot import StudyByDefault, gains, label, study
from training.cli.synthesize import synthesize
from training.cli.vision import vision

train_app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Produce a checkpoint: vision tower, joint training."
)
train_app.command()(vision)
train_app.command()(joint)
train_app.command()(mine)
train_app.command("accelerate-config")(accelerate_config)

data_app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Build data sets in MMEB's row format."
)
data_app.command()(mini)
data_app.command()(check)


@data_app.callback()
def _data() -> None:
    """Build data sets in MMEB's row format."""


evaluate_app = typer.Typer(add_completion=False)
evaluate_app.command()(evaluate)

synthesize_app = typer.Typer(add_completion=False)
synthesize_app.command()(synthesize)

pilot_app = typer.Typer(
    cls=StudyByDefault,
    no_args_is_help=True,
    add_completion=False,
    help="Find out which datasets, or which queries, gain from augmentation. Without a command: study.",
)
pilot_app.command()(study)
pilot_app.command()(gains)
pilot_app.command()(label)
