"""`solomon evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from training.cli.console import console, failures

if TYPE_CHECKING:
    from training.scores import Score
    from training.scoring import Begin, Candidate, Evaluated, EvaluationSettings


def evaluate(
    checkpoints: Annotated[
        list[str],
        typer.Argument(
            metavar="CHECKPOINT...",
            help="Checkpoint folders; LABEL=FOLDER names one, and those with the same label are its seeds.",
            show_default=False,
        ),
    ],
    data: Annotated[Path, typer.Option(help="Folder of the data (eval/, calibration/, images/).")],
    output: Annotated[
        Path, typer.Option(help="Folder of the report; what is computed is kept there for a rerun.")
    ] = Path("runs/evaluation"),
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most this many queries of each dataset.")
    ] = None,
    datasets: Annotated[
        str, typer.Option(help="Names of the datasets to evaluate, with commas; default: all.")
    ] = "",
    save: Annotated[
        bool,
        typer.Option("--save", help="Calibrate the threshold and store it and the scores in the manifest."),
    ] = False,
    rule: Annotated[
        Literal["routes", "quality"],
        typer.Option(help="What the calibrated threshold makes best: right routes, or P@1 less its price."),
    ] = "routes",
    price: Annotated[
        float, typer.Option(min=0, help="Hits that one augmentation has to be worth (rule quality).")
    ] = 0.01,
    latency: Annotated[bool, typer.Option(help="Measure embedding latency by route.")] = True,
    latency_queries: Annotated[int, typer.Option(min=1, help="Queries to time, over all datasets.")] = 64,
    repetitions: Annotated[int, typer.Option(min=1, help="Times that each route is timed.")] = 3,
    batch_size: Annotated[int, typer.Option(min=1, help="Queries of a timed batch.")] = 16,
    device: Annotated[
        str | None, typer.Option(help="Torch device; default: CUDA where there is any.")
    ] = None,
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16"], typer.Option(help="Of weights and keys and values.")
    ] = "auto",
) -> None:
    """Score checkpoints on held-out data and write a report, as JSON and as one HTML page.

    P@1 with intervals by dataset, meta-task and domain, under adaptive and forced routes; CF, share of
    /embed, augmentation tokens, latency by route, and the curve over thresholds. Several checkpoints are
    compared, paired by query and seed. An interrupted or repeated run goes on from what is kept in --output.
    """
    with failures():
        from training.calibration import Rule
        from training.evaluation import Selection
        from training.latency import LatencySettings
        from training.report.writing import require_plots
        from training.scoring import EvaluationSettings

        require_plots()
        chosen = tuple(name.strip() for name in datasets.split(",") if name.strip())
        settings = EvaluationSettings(
            selection=Selection(chosen, limit),
            save=save,
            rule=Rule(rule),
            price=price,
            latency=LatencySettings(latency_queries, repetitions, batch_size=batch_size) if latency else None,
            device=device,
            dtype=dtype,
        )
        _evaluate([_candidate(text) for text in checkpoints], data, settings, output)


def _evaluate(subjects: Sequence[Candidate], data: Path, settings: EvaluationSettings, output: Path) -> None:
    from training.report import contents, write_report
    from training.scoring import Evaluation

    evaluated: list[Evaluated] = []
    for subject in subjects:
        with _bars() as begin:
            evaluated.append(Evaluation(subject, data, settings, output, begin, console.print).run())
        _show(evaluated[-1])
    document = contents(evaluated, data)
    for path in write_report(document, output):
        console.print(f"Wrote {path}")


def _candidate(text: str) -> Candidate:
    """A checkpoint as the command line names it. Raises ValueError where there is no such folder."""
    from training.scoring import candidate

    label, sign, folder = text.rpartition("=")
    if not Path(folder).is_dir():
        raise ValueError(f"CHECKPOINT: there is no folder '{folder}'.")
    if sign and not label:
        raise ValueError(f"CHECKPOINT: '{text}' has no label before '='.")
    return candidate(Path(folder), label or None)


@contextmanager
def _bars() -> Iterator[Begin]:
    """Progress bars on standard error, one for each piece of work that is begun."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:

        def begin(description: str, total: int) -> Callable[[int], None]:
            task = progress.add_task(description, total=total)
            return lambda count: progress.advance(task, count)

        yield begin


def _show(evaluated: Evaluated) -> None:
    from training.scores import mean_score

    subject = evaluated.candidate
    console.print(f"{subject.label} ({subject.folder}), threshold {evaluated.threshold:.4f}")
    names = ("dataset", "route", "queries", "P@1", "CF", "/embed", "right", "tokens")
    table = Table(*names, box=box.SIMPLE_HEAD)
    for score in evaluated.scores():
        table.add_row(*_cells(score))
    table.add_section()
    for choice in subject.choices:
        table.add_row(*_cells(mean_score("mean", evaluated.outcomes, choice, evaluated.threshold)))
    console.print(table)
    for load in evaluated.latency.latency if evaluated.latency else ():
        seconds = ", ".join(f"{route} {one.mean:.3f} s" for route, one in load.seconds.items())
        extra = "" if load.overhead is None else f"; extra time / share augmented {load.overhead.mean:.2f}"
        console.print(f"{load.shape}: {seconds}; adaptive/always {load.adaptive_to_always.mean:.2f}{extra}")


def _cells(score: Score) -> tuple[str, ...]:
    right = "" if score.route_accuracy is None else f"{score.route_accuracy:.3f}"
    figures = (score.precision_at_1, score.confidence, score.embed_share)
    names = (score.dataset, score.route, str(score.queries))
    return *names, *(f"{figure:.3f}" for figure in figures), right, f"{score.augment_tokens:.1f}"
