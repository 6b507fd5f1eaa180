"""The joint training loop: L = L_rep + alpha_gen * L_gen, step by step, resumable at any saved step."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from training.batches import BatchBuilder, Sampler
from training.losses import GenerationLoss, RepresentationLoss
from training.recipe import Recipe
from training.state import restore_state, save_state, stored_facts, trainable
from training.student import Student

STATE = "state.safetensors"
LOG = "log.jsonl"


class Trainer:
    """Trains a student in place. Its state lives in `folder`; running again goes on where it stopped."""

    def __init__(
        self, student: Student, builder: BatchBuilder, sampler: Sampler, recipe: Recipe, folder: Path
    ) -> None:
        self.student, self.builder, self.sampler = student, builder, sampler
        self.recipe, self.folder = recipe, folder
        self.representation = RepresentationLoss(recipe.temperature)
        self.generation = GenerationLoss()
        self.optimizer = torch.optim.AdamW(
            parameter_groups(student, recipe), weight_decay=recipe.weight_decay, betas=(0.9, 0.98)
        )
        self.peak_rates = [group["lr"] for group in self.optimizer.param_groups]
        self.device = next(student.parameters()).device
        self.step = 0

    def run(self) -> None:
        """Train to the recipe's last step. Raises ValueError when the folder holds another recipe's run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        columns = (
            TextColumn("Training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
        )
        with Progress(*columns) as progress:
            task = progress.add_task("", total=self.recipe.steps, completed=self.step, figures="")
            while self.step < self.recipe.steps:
                figures = self.train_step()
                progress.update(
                    task,
                    completed=self.step,
                    figures=f"L_rep {figures['l_rep']:.3f} L_gen {figures['l_gen']:.3f}",
                )
                if self.step % self.recipe.save_every == 0 or self.step == self.recipe.steps:
                    self._save()

    def train_step(self) -> dict[str, float]:
        """One optimizer step on the batch that belongs to the current step; returns its figures."""
        started = time.perf_counter()
        dataset, rows = self.sampler.at(self.step)
        batch = self.builder.build(dataset, rows)
        factor = schedule(self.step, self.recipe)
        for group, peak in zip(self.optimizer.param_groups, self.peak_rates, strict=True):
            group["lr"] = peak * factor
        torch.manual_seed(self.recipe.seed * 1_000_003 + self.step)  # dropout, the same in a resumed run
        with torch.autocast(self.device.type, torch.bfloat16):
            queries, documents = self.student(batch.queries), self.student(batch.documents)
        l_rep = self.representation(
            queries.pooled, documents.pooled, batch.target.to(self.device), batch.masked.to(self.device)
        )
        l_gen = self.generation(queries.response_logits, queries.response)
        self.optimizer.zero_grad()
        (l_rep + self.recipe.alpha_gen * l_gen).backward()
        nn.utils.clip_grad_norm_(trainable(self.student).values(), self.recipe.max_grad_norm)
        self.optimizer.step()
        self.step += 1
        figures = {"step": self.step, "l_rep": l_rep.item(), "l_gen": l_gen.item()}
        figures["seconds"] = round(time.perf_counter() - started, 3)
        with (self.folder / LOG).open("a") as log:
            log.write(json.dumps({"dataset": dataset, **figures}) + "\n")
        return figures

    def seconds(self) -> float:
        """Time spent in the steps up to the present one, whatever interruptions lay between them."""
        steps: dict[int, float] = {}
        if (self.folder / LOG).exists():
            for line in (self.folder / LOG).read_text().splitlines():
                entry = json.loads(line)
                steps[entry["step"]] = entry["seconds"]  # a step run again after a crash counts once
        return round(sum(seconds for step, seconds in steps.items() if step <= self.step), 1)

    def _save(self) -> None:
        facts = {"step": self.step, "recipe": self.recipe.model_dump()}
        save_state(self.folder / STATE, self.student, self.optimizer, facts)

    def _resume(self) -> None:
        path = self.folder / STATE
        if not path.exists():
            return
        if stored_facts(path)["recipe"] != self.recipe.model_dump():
            raise ValueError(f"{path} belongs to another recipe; choose another run folder or remove it.")
        self.step = restore_state(path, self.student, self.optimizer)["step"]


def parameter_groups(student: Student, recipe: Recipe) -> list[dict[str, object]]:
    """The adapter at the recipe's rate, the vision merger at its own."""
    named = trainable(student)
    merger = [parameter for name, parameter in named.items() if ".visual.merger." in name]
    adapter = [parameter for name, parameter in named.items() if ".visual.merger." not in name]
    groups: list[dict[str, object]] = [{"params": adapter, "lr": recipe.learning_rate}]
    if merger:
        groups.append({"params": merger, "lr": recipe.merger_learning_rate})
    return groups


def schedule(step: int, recipe: Recipe) -> float:
    """The learning rate's factor: linear warm-up, then a cosine to a twentieth."""
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    progress = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress))
