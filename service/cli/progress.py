"""Progress of long jobs on standard error: a bar, how many, how fast, and the time left."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

_SETTLED_SECONDS = 2.0


class _Rate(ProgressColumn):
    """Documents a second: over the last half minute, and in the end over the whole job."""

    def render(self, task: Task) -> Text:
        speed = task.speed
        if task.finished_time:
            speed = task.completed / task.finished_time
        elif (task.elapsed or 0.0) < _SETTLED_SECONDS:  # a first batch that arrives at once is no rate
            speed = None
        return Text("" if speed is None else f"{speed:,.1f} docs/s")


def job_progress(*, quiet: bool) -> Progress:
    """A progress display for documents; use it in a `with`."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=quiet,
    )


def transfer_progress(*, quiet: bool) -> Progress:
    """A progress display for bytes; use it in a `with`."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=quiet,
    )
