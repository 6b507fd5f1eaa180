"""Puts a joint training run together: base, tower, data and recipe to a trained checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model.checkpoint import base_revision, load_base
from model.conv_tower import PATCH
from model.mini_base import NAME as MINI_BASE
from model.prompts import PromptEncoder
from training.batches import BatchBuilder
from training.export import ADAPTER, export_checkpoint, require_replaceable, vision_weights
from training.features import FEATURES, image_paths, tower_features
from training.mmeb import TrainingRow
from training.parallel import Processes
from training.pictures import CachedFeatures, LiveImages, TrainingImages
from training.provenance import data_facts, file_sha256, machine_facts, tower_facts
from training.recipe import Recipe
from training.sampling import Sampler, sampling_weights
from training.start import load_adapter, start_facts
from training.state import load_parameters
from training.student import Student, add_lora
from training.trainer import STATE, Trainer
from training.training_data import read_training_data
from training.vision.tower_file import load_tower

SPLITS = "Held-out contents (a tenth, by content hash) are scored (7 %) or calibrate the threshold (3 %)."

Rows = Mapping[str, Sequence[TrainingRow]]
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Places:
    """Where a run reads and writes: the data (train/, images/), the run's state, the checkpoint to write."""

    data: Path
    run: Path
    output: Path
    tower: Path | None = None
    start_from: Path | None = None  # a run's state or a checkpoint: its adapter is where this run begins


def train(
    recipe: Recipe,
    places: Places,
    device: str = "auto",
    report: Report = print,
    tensorboard: bool = False,
) -> None:
    """Train (or go on training) and export; under Accelerate's launcher, on every process at once.

    Raises ValueError for missing data, naming the subset, and for an output folder of something else.
    """
    processes = Processes.launched(device)
    speak = report if processes.first else _silent
    if processes.first:
        require_replaceable(places.output)
    rows = read_training_data(places.data, recipe, speak)
    trainer = build_trainer(recipe, places, rows, processes, speak, tensorboard)
    trainer.run()
    if processes.first:
        student = trainer.student
        if processes.sharded:  # the run's last state holds the whole tensors
            student, _ = build_student(recipe, places, rows, Processes(), speak)
            load_parameters(places.run / STATE, student)
        _export(recipe, places, student, _facts(places, rows, processes, trainer))
        report(f"Wrote {places.output}")
    processes.part()


def build_trainer(
    recipe: Recipe,
    places: Places,
    rows: Rows,
    processes: Processes,
    report: Report = print,
    tensorboard: bool = False,
) -> Trainer:
    """Student, batches and loop as a run begins with them. Raises ValueError as `build_student` does."""
    student, prompts = build_student(recipe, places, rows, processes, report)
    if places.start_from is not None and places.start_from.is_dir():
        load_adapter(places.start_from, student.peft_model)
    processes.shard(student)
    if places.start_from is not None and places.start_from.is_file():
        load_parameters(places.start_from, student, skip=".visual.merger.")
    builder = BatchBuilder(
        prompts,
        student.images,
        recipe.max_text_tokens,
        recipe.max_augment_tokens,
        recipe.hard_negatives,
        recipe.wrong_answers,
    )
    sizes = {name: len(subset) for name, subset in rows.items()}
    weights = sampling_weights(recipe.datasets, sizes, recipe.sampling_temperature)
    sampler = Sampler(rows, weights, recipe.batch_size, recipe.seed)
    inputs = _inputs(places, rows)
    return Trainer(student, builder, sampler, recipe, places.run, processes, tensorboard, inputs)


def _inputs(places: Places, rows: Rows) -> dict[str, str]:
    """What the run is made of, each with its hash, as an interrupted run must find it again."""
    inputs = {f"dataset {name}": facts["sha256"] for name, facts in data_facts(places.data, rows).items()}
    if places.tower is not None:
        inputs["tower"] = file_sha256(places.tower)
    if places.start_from is not None:
        start = places.start_from
        inputs["start"] = file_sha256(start / ADAPTER if start.is_dir() else start)
    return inputs


def build_student(
    recipe: Recipe, places: Places, rows: Rows, processes: Processes, report: Report = print
) -> tuple[Student, PromptEncoder]:
    """The model with its adapter as a run begins with it, and the encoder of its prompts.

    Raises ValueError for pictures without a vision tower, and for patches or `matryoshka` lengths that do not
    fit the base.
    """
    mini = recipe.base == MINI_BASE
    if mini and places.tower is None and any(image_paths(subset) for subset in rows.values()):
        raise ValueError(
            "The mini base sees nothing by itself: give --tower (solomon train vision makes one)."
        )
    if mini and recipe.patch_size != PATCH:
        raise ValueError(f"The mini base takes patches of {PATCH} pixels; set patch_size = {PATCH}.")
    model, tokenizer = load_base(recipe.base, report)
    _require_full_length(recipe, model.config.text_config.hidden_size)
    tower = model.model.visual
    if places.tower is not None:
        load_tower(tower, places.tower)
    images = _images(recipe, places, rows, tower, processes)
    model.to(device=processes.device, dtype=recipe.dtype(processes.device))
    prompts = PromptEncoder(tokenizer)
    torch.manual_seed(recipe.seed)  # the adapter's initial weights, the same on every process
    adapted = add_lora(model, recipe, prompts.routes)
    for parameter in tower.merger.parameters():
        parameter.requires_grad_(recipe.merger_learning_rate > 0)
    tower.merger.float()
    if recipe.gradient_checkpointing:
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    return Student(adapted, prompts.routes, images).train(), prompts


def _images(recipe: Recipe, places: Places, rows: Rows, tower: Any, processes: Processes) -> TrainingImages:
    root = places.data / "images"
    if recipe.vision_tower != "cached":
        return LiveImages(root, recipe.image_format, recipe.gradient_checkpointing)
    paths = image_paths(row for subset in rows.values() for row in subset)
    tower.to(processes.device)
    with processes.first_alone():  # the others then find its cache
        features = tower_features(tower, paths, root, recipe.image_format, places.data / FEATURES)
    return CachedFeatures(features, (recipe.image_side or 0) // recipe.image_format.token_side)


def _require_full_length(recipe: Recipe, dimensions: int) -> None:
    if recipe.matryoshka and max(recipe.matryoshka) != dimensions:
        raise ValueError(
            f"matryoshka's longest prefix is {max(recipe.matryoshka)} and vectors of this base have "
            f"{dimensions} dimensions; make {dimensions} the longest, so that the whole vector learns too."
        )


def _facts(places: Places, rows: Rows, processes: Processes, trainer: Trainer) -> dict[str, Any]:
    facts = {
        "data": data_facts(places.data, rows),
        "weights": dict(trainer.batches.sampler.weights),
        "splits": SPLITS,
        "machine": machine_facts(str(processes.device)) | {"processes": processes.count},
        "seconds": trainer.seconds(),
    }
    if places.tower is not None:
        facts["vision_tower"] = tower_facts(places.tower)
    if places.start_from is not None:
        facts["start_from"] = start_facts(places.start_from)
    return facts


def _export(recipe: Recipe, places: Places, student: Student, facts: dict[str, Any]) -> None:
    tower = student.qwen.model.visual
    vision = vision_weights(tower, whole=recipe.base == MINI_BASE or places.tower is not None)
    revision = base_revision(recipe.base, student.qwen)
    export_checkpoint(places.output, student.peft_model, recipe, revision, vision, facts)


def _silent(line: str) -> None:
    return None
