"""`solomon pilot`: the study itself (the default), `solomon pilot gains` and `solomon pilot label`."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from typer.core import TyperGroup

from training.cli.console import Data, console, failures

if TYPE_CHECKING:
    from training.labels import Labelled
    from training.pilot.baselines import BaselineRun
    from training.pilot.split import SplitRule, Study

DEFAULT_COMMAND = "study"


class StudyByDefault(TyperGroup):
    """`solomon pilot --data ...` is `solomon pilot study --data ...`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default command first where none is named."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = [DEFAULT_COMMAND, *args]
        return super().parse_args(ctx, args)


class RuleName(StrEnum):
    """As `training.pilot.split.Rule`, which is too heavy to import for --help."""

    BETTER_OR_COMPARABLE = "better-or-comparable"
    SIGNIFICANT = "significant"
    UNLESS_HARMFUL = "unless-harmful"


class Split(StrEnum):
    """Development data: neither is trained on."""

    CALIBRATION = "calibration"
    EVAL = "eval"


class Level(StrEnum):
    """What gets a label as a whole."""

    DATASET = "dataset"
    QUERY = "query"


RecipeName = Annotated[str | None, typer.Option(help="A shipped recipe's name or a TOML file.")]
Run = Annotated[Path | None, typer.Option(help="Where baselines are trained; run again to go on.")]
Tower = Annotated[Path | None, typer.Option(help="Pre-trained vision tower, for bases without one.")]
Device = Annotated[str, typer.Option(help="Torch device; auto takes CUDA where there is any.")]


def study(
    data: Data,
    output: Annotated[Path, typer.Option(help="The JSON file to write: comparisons and split.")],
    recipe: RecipeName = None,
    no_aug: Annotated[
        Path | None, typer.Option(help="The NoAug checkpoint; without it one is trained by the recipe.")
    ] = None,
    always_aug: Annotated[
        Path | None, typer.Option(help="The AlwaysAug checkpoint; without it one is trained.")
    ] = None,
    run: Run = None,
    tower: Tower = None,
    split: Annotated[
        Split,
        typer.Option(
            help="Which development data decides. Labels chosen on eval would flatter scores on eval."
        ),
    ] = Split.CALIBRATION,
    datasets: Annotated[str, typer.Option(help="Only these development subsets, by commas.")] = "",
    stands_for: Annotated[
        list[str] | None,
        typer.Option(help="SUBSET=DATASET: a subset that evaluates a dataset of another name (repeatable)."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many queries of each.")] = None,
    rule: Annotated[
        RuleName,
        typer.Option(
            help="better-or-comparable (the paper's): augment where the gain is above the margin; "
            "significant: where its whole interval is; unless-harmful: unless its whole interval is below "
            "minus the margin."
        ),
    ] = RuleName.BETTER_OR_COMPARABLE,
    margin: Annotated[float, typer.Option(min=0, max=1, help="In P@1: 0.01 is one point.")] = 0.0,
    resamples: Annotated[int, typer.Option(min=100, help="Of the bootstrap.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    plot: Annotated[
        Path | None, typer.Option(help="The picture to write; default: beside the JSON, .svg.")
    ] = None,
    labelled: Annotated[
        Path | None, typer.Option(help="Also write this data folder, its rows labelled by the split.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Compare NoAug with AlwaysAug dataset by dataset and split the datasets into D^E and D^A."""
    from training.annotation import training_datasets
    from training.evaluation import Selection
    from training.pilot.baselines import ALWAYS_AUG, NO_AUG, has_augmentations, train_baseline
    from training.pilot.plot import plot_study
    from training.pilot.split import Rule, SplitRule, study_json, write_json
    from training.pilot.study import StudySettings, run_study
    from training.recipe import load_recipe

    with failures():
        chosen_rule = SplitRule(Rule(rule.value), margin)
        picture = plot or output.with_suffix(".svg")
        if no_aug is None or always_aug is None:
            baselines = _baselines(recipe, data, run, tower, device)
            no_aug = no_aug or train_baseline(baselines, NO_AUG, console.print)
            always_aug = always_aug or train_baseline(baselines, ALWAYS_AUG, console.print)
        loaded = load_recipe(recipe) if recipe else None
        trained = list(loaded.datasets) if loaded else training_datasets(data)
        shards = loaded.split if loaded else ""
        names = tuple(name.strip() for name in datasets.split(",") if name.strip())
        settings = StudySettings(
            data=data,
            cache=(run or output.parent) / "pilot-embeddings.sqlite",
            split=split.value,
            selection=Selection(names, limit),
            stands_for=_pairs(stands_for or []),
            resamples=resamples,
            seed=seed,
            device=device,
        )
        found = run_study(no_aug, always_aug, trained, settings, console.print)
        write_json(output, study_json(found, chosen_rule))
        plot_study(found, chosen_rule, picture)
        _show_study(found, chosen_rule)
        mute = [name for name in trained if not has_augmentations(data, name, shards)]
        if mute:
            console.print(f"Without a single augmentation, so never labelled /augment: {', '.join(mute)}")
        console.print(f"Wrote {output} and {picture}")
        if labelled:
            _label_datasets(data, labelled, output, chosen_rule, shards)


def gains(
    data: Data,
    output: Annotated[Path, typer.Option(help="The Parquet file to write: every row's margins and gain.")],
    run: Annotated[Path, typer.Option(help="Where the folds' baselines are trained; run again to go on.")],
    recipe: Annotated[str, typer.Option(help="A shipped recipe's name or a TOML file.")],
    tower: Tower = None,
    folds: Annotated[int, typer.Option(min=2, help="Each is measured by models trained on the others.")] = 2,
    candidates: Annotated[int, typer.Option(min=2, help="Documents that each query is ranked among.")] = 100,
    seed: Annotated[int, typer.Option(help="Of folds and candidates.")] = 0,
    device: Device = "auto",
) -> None:
    """Measure each training query's own gain from augmentation, cross-fitted."""
    from training.pilot.gains import GainSettings, measure_gains

    with failures():
        baselines = _baselines(recipe, data, run, tower, device)
        settings = GainSettings(folds, candidates, seed)
        count = measure_gains(baselines, settings, output, console.print)
        console.print(f"Wrote the gains of {count} queries to {output}")


def label(
    data: Data,
    output: Annotated[Path, typer.Option(help="The data folder to write. May be --data itself.")],
    level: Annotated[Level, typer.Option(help="One label a dataset, or one a query.")],
    study_file: Annotated[
        Path | None, typer.Option("--study", exists=True, dir_okay=False, help="dataset: the study's JSON.")
    ] = None,
    rule: Annotated[
        RuleName | None, typer.Option(help="dataset: another rule than the study was written with.")
    ] = None,
    margin: Annotated[
        float | None, typer.Option(min=0, max=1, help="dataset: another margin, in P@1.")
    ] = None,
    gains_file: Annotated[
        Path | None, typer.Option("--gains", exists=True, dir_okay=False, help="query: the gains' file.")
    ] = None,
    threshold: Annotated[
        float, typer.Option(help="query: augment where the gain, a difference of cosines, is above it.")
    ] = 0.0,
    split: Annotated[
        str, typer.Option(help="dataset: which split of MMEB's folders, where they have several.")
    ] = "",
) -> None:
    """Write the column `route` (embed or augment) into the training rows."""
    from training.labels import label_by_query
    from training.pilot.split import Rule, SplitRule, read_study

    with failures():
        if level is Level.QUERY:
            if gains_file is None:
                raise ValueError("--level query needs --gains (solomon pilot gains writes it).")
            _show_labels(label_by_query(data, output, gains_file, threshold))
            return
        if study_file is None:
            raise ValueError("--level dataset needs --study (solomon pilot writes it).")
        _, stored = read_study(study_file)
        chosen = SplitRule(
            Rule(rule.value) if rule else stored.rule, stored.margin if margin is None else margin
        )
        _label_datasets(data, output, study_file, chosen, split)


def _label_datasets(data: Path, output: Path, study_file: Path, rule: SplitRule, split: str) -> None:
    from training.labels import label_by_dataset
    from training.pilot.split import read_study

    found, _ = read_study(study_file)
    facts = {"rule": rule.rule.value, "margin": rule.margin}
    _show_labels(label_by_dataset(data, output, found.routes(rule), facts, split))


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    if wrong := [text for text, pair in zip(texts, pairs, strict=True) if not all(pair)]:
        raise ValueError(f"--stands-for is SUBSET=DATASET, not {', '.join(wrong)}.")
    return {subset: dataset for subset, _, dataset in pairs}


def _baselines(
    recipe: str | None, data: Path, run: Path | None, tower: Path | None, device: str
) -> BaselineRun:
    from training.pilot.baselines import BaselineRun
    from training.recipe import load_recipe

    if recipe is None or run is None:
        raise ValueError("To train a baseline give --recipe and --run, or give both checkpoints.")
    return BaselineRun(load_recipe(recipe), data, run, tower, device)


def _show_study(found: Study, rule: SplitRule) -> None:
    routes = found.routes(rule)
    table = Table("dataset", "queries", "NoAug", "AlwaysAug", "gain", "95 %", "learns")
    for one in [*found.comparisons, found.mean]:
        route = routes.get(one.dataset)
        figures = (f"{one.no_aug:.3f}", f"{one.always_aug:.3f}", f"{one.gain.mean:+.3f}")
        interval = f"{one.gain.low:+.3f} to {one.gain.high:+.3f}"
        table.add_row(one.dataset, str(one.queries), *figures, interval, f"/{route.value}" if route else "")
    console.print(table)
    if found.not_compared():
        console.print(f"No development queries, so not decided: {', '.join(found.not_compared())}")


def _show_labels(labelled: Sequence[Labelled]) -> None:
    table = Table("training file", "/augment", "/embed", "with nothing to write", "unlabelled")
    for one in labelled:
        counts = (one.augment, one.embed, one.without_augmentation, one.unlabelled)
        table.add_row(one.file, *map(str, counts))
    console.print(table)
