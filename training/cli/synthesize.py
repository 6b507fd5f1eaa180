"""`solomon synthesize`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from training.cli.console import Data, console, failures

if TYPE_CHECKING:
    from model.engine import Engine
    from training.teacher.answers import Advance, Teacher
    from training.teacher.synthesis import SynthesisReport

KEY_VARIABLE = "SOLOMON_TEACHER_API_KEY"
SHOWN = 10  # rows without an augmentation that are named on the console; the report file names all


class TeacherKind(StrEnum):
    """Where augmentations come from."""

    ENDPOINT = "endpoint"
    GROUND_TRUTH = "ground-truth"
    SELF = "self"


def synthesize(
    data: Data,
    output: Annotated[
        Path,
        typer.Option(
            help="The data folder to write: new train/ files, links to all else. May be --data itself."
        ),
    ],
    datasets: Annotated[
        str | None, typer.Option(help="Training datasets, separated by commas; default: all.")
    ] = None,
    teacher: Annotated[
        TeacherKind,
        typer.Option(
            help="endpoint: a model behind --base-url; ground-truth: the data's own answers; self: a Solomon "
            "model writes, and what does not help its retrieval is dropped."
        ),
    ] = TeacherKind.ENDPOINT,
    base_url: Annotated[
        str | None, typer.Option(help="An OpenAI-compatible endpoint, http://host:8000/v1 say.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The teacher's name there, Qwen/Qwen2.5-VL-72B-Instruct say.")
    ] = None,
    api_key_variable: Annotated[
        str, typer.Option(help="The environment variable that holds the endpoint's key.")
    ] = KEY_VARIABLE,
    cache: Annotated[
        Path | None, typer.Option(help="The file of replies; default: teacher-cache.sqlite in --output.")
    ] = None,
    retry_malformed: Annotated[
        bool, typer.Option(help="Ask again for what the cache holds as malformed.")
    ] = False,
    concurrency: Annotated[int, typer.Option(min=1, help="Queries under way at once.")] = 16,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds until a request counts as failed.")] = 120,
    attempts: Annotated[int, typer.Option(min=1, help="Requests a query before it counts as failed.")] = 8,
    temperature: Annotated[float, typer.Option(min=0, help="Of the first attempt at a query.")] = 0.0,
    max_tokens: Annotated[int, typer.Option(min=16, help="Longest reply, its reasoning included.")] = 512,
    limit_field: Annotated[
        str, typer.Option(help="What the endpoint calls --max-tokens (OpenAI: max_completion_tokens).")
    ] = "max_tokens",
    prompt_price: Annotated[
        float | None, typer.Option(min=0, help="Price of a million prompt tokens, for the cost report.")
    ] = None,
    completion_price: Annotated[
        float | None, typer.Option(min=0, help="Price of a million completion tokens.")
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="--teacher self: the model that writes, a checkpoint or a base.")
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            help="--teacher self: the checkpoint that decides whether an answer helps; default: the writer. "
            "A base's own vectors mean nothing, so it needs a judge."
        ),
    ] = None,
    min_gain: Annotated[
        float, typer.Option(help="--teacher self: the margin an answer must add to be kept.")
    ] = 0.0,
    candidates: Annotated[
        int, typer.Option(min=2, help="--teacher self: documents that each query is ranked among.")
    ] = 100,
    positive_is_answer: Annotated[
        str,
        typer.Option(help="Datasets whose positive is the answer itself (VQA, classification), by commas."),
    ] = "",
    split: Annotated[
        str, typer.Option(help="Which split of MMEB's folders, where they have several (original).")
    ] = "",
    keep_existing: Annotated[
        bool, typer.Option(help="Ask only for rows that have no augmentation yet.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first rows of each file, for a trial.")
    ] = None,
    seed: Annotated[int, typer.Option(help="--teacher self: which candidates are drawn.")] = 0,
) -> None:
    """Get answer-style augmentations from a teacher; run again to go on after an interruption."""
    from training.annotation import training_datasets
    from training.teacher.synthesis import SynthesisSettings
    from training.teacher.synthesis import synthesize as run

    with failures(), ExitStack() as stack:
        answers = _names(positive_is_answer)
        chosen = _names(datasets) if datasets is not None else tuple(training_datasets(data))
        if not chosen:
            raise ValueError(f"{data / 'train'} holds no datasets: build the data first, or name some.")
        settings = SynthesisSettings(
            data=data,
            output=output,
            datasets=chosen,
            split=split,
            keep_existing=keep_existing,
            limit=limit,
            positive_is_answer=answers,
            prompt_price=prompt_price,
            completion_price=completion_price,
        )
        if teacher is TeacherKind.GROUND_TRUTH:
            from training.teacher.truth import GroundTruthTeacher

            source: Teacher = GroundTruthTeacher(answers)
        elif teacher is TeacherKind.SELF:
            from training.teacher.self_teacher import SelfSettings, SelfTeacher

            writer = _engine(stack, _given(checkpoint, "--checkpoint", "self"))
            other = _engine(stack, judge) if judge else None
            rule = SelfSettings(min_gain=min_gain, candidates=candidates, seed=seed)
            source = SelfTeacher(writer, other, data / "images", rule)
        else:
            from training.teacher.endpoint import EndpointSettings
            from training.teacher.remote import Caching, EndpointTeacher

            endpoint = EndpointSettings(
                base_url=_given(base_url, "--base-url", "endpoint"),
                model=_given(model, "--model", "endpoint"),
                temperature=temperature,
                max_tokens=max_tokens,
                limit_field=limit_field,
                concurrency=concurrency,
                timeout=timeout,
                attempts=attempts,
            )
            replies = Caching(cache or output / "teacher-cache.sqlite", retry_malformed)
            key = os.environ.get(api_key_variable)
            source = EndpointTeacher(endpoint, key, replies, data / "images")
        with _progress() as progress:
            report = run(source, settings, progress)
        _show(report)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _given(value: str | None, option: str, kind: str) -> str:
    if not value:
        raise ValueError(f"--teacher {kind} needs {option}.")
    return value


def _engine(stack: ExitStack, source: str) -> Engine:
    from model.checkpoint import load_model
    from model.engine import Engine, EngineSettings

    return stack.enter_context(closing(Engine(load_model(source, console.print), EngineSettings())))


@contextmanager
def _progress() -> Iterator[Callable[[str, int], Advance]]:
    """A bar for each dataset."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:

        def start(dataset: str, rows: int) -> Advance:
            task = bars.add_task(dataset, total=rows)
            return lambda count: bars.update(task, advance=count)

        yield start


def _show(report: SynthesisReport) -> None:
    table = Table("file", "rows", "answered", "words", "95 %", "= truth", "has truth", "copies query")
    table.columns[0].overflow = "fold"
    for name, one in report.quality.items():
        shares = (_percent(one.exact), _percent(one.containing), _percent(one.copying))
        lengths = ("" if figure is None else f"{figure:.1f}" for figure in (one.words_mean, one.words_p95))
        table.add_row(name, str(one.rows), _percent(one.parsed), *lengths, *shares)
    console.print(table)
    spent = (f"{name.replace('_', ' ')} {figure}" for name, figure in report.cost.items() if figure)
    console.print("Cost: " + ", ".join(spent))
    for row in report.unanswered[:SHOWN]:
        console.print(f"No augmentation: {row.file} row {row.row} ({row.query!r}): {row.problem}")
    if len(report.unanswered) > SHOWN:
        console.print(f"... and {len(report.unanswered) - SHOWN} more; the report file names them all.")


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"
