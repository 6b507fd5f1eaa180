"""The joint training loop: L = L_rep + alpha_gen * L_gen, step by step, resumable at any saved step."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training.batch_stream import BatchStream
from training.batches import BatchBuilder
from training.parallel import Processes
from training.recipe import Recipe
from training.run_log import RunLog
from training.sampling import Sampler
from training.schedule import warmup_cosine
from training.state import restore_state, save_state, stored_facts, trainable
from training.step import JointStep
from training.student import Student

STATE = "state.safetensors"
_RANK_SEEDS = 7_919_000_003  # processes drop out differently


class Trainer:
    """Trains a student in place. Its state lives in `folder`; running again goes on where it stopped."""

    def __init__(
        self,
        student: Student,
        builder: BatchBuilder,
        sampler: Sampler,
        recipe: Recipe,
        folder: Path,
        processes: Processes | None = None,
        tensorboard: bool = False,
        inputs: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`inputs` names what the run is made of and its hash: going on with others would mix two runs."""
        self.student, self.recipe, self.folder = student, recipe, folder
        self.processes = processes or Processes()
        self.batches = BatchStream(builder, sampler, self.processes)
        self.joint = JointStep(student, recipe, self.processes)
        self.log = RunLog(folder, tensorboard)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(student, recipe), weight_decay=recipe.weight_decay, betas=(0.9, 0.98)
        )
        self.peak_rates = [group["lr"] for group in self.optimizer.param_groups]
        self.step = 0
        self.inputs = dict(inputs)

    def run(self) -> None:
        """Train to the recipe's last step. Raises ValueError when the folder holds another run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        columns = (
            TextColumn("Training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
        )
        with Progress(*columns, disable=not self.processes.first) as progress:
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
        self.log.close()

    def train_step(self) -> dict[str, float]:
        """One optimizer step on the batch that belongs to the current step; returns its figures."""
        started = time.perf_counter()
        batch = self.batches.at(self.step)
        factor = warmup_cosine(self.step, self.recipe.warmup_steps, self.recipe.steps)
        for group, peak in zip(self.optimizer.param_groups, self.peak_rates, strict=True):
            group["lr"] = peak * factor
        self.optimizer.zero_grad()
        seed = self.recipe.seed * 1_000_003 + self.step  # the same in a resumed run
        losses = self.joint.backward(batch, seed + self.processes.rank * _RANK_SEEDS)
        parameters = trainable(self.student).values()
        self.processes.sum_gradients(parameters)
        norm = self.processes.clip_gradients(parameters, self.recipe.max_grad_norm)
        self.optimizer.step()
        self.step += 1
        seconds = time.perf_counter() - started
        figures = {
            **asdict(losses),
            "gradient_norm": norm,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "queries_per_second": round(len(batch.target) / seconds, 2),
            "seconds": round(seconds, 3),
        }
        if self.processes.first:
            self.log.write(self.step, batch.dataset, figures)
        return figures

    def seconds(self) -> float:
        """Time spent in the steps up to the present one, whatever interruptions lay between them."""
        return self.log.seconds(self.step)

    def _save(self) -> None:
        facts = {"step": self.step, "recipe": self.recipe.model_dump(), "inputs": self.inputs}
        save_state(self.folder / STATE, self.student, self.optimizer, facts, write=self.processes.first)
        self.processes.wait()

    def _resume(self) -> None:
        path = self.folder / STATE
        if not path.exists():
            return
        facts = stored_facts(path)
        if not self.recipe.same_run(facts["recipe"]):
            raise ValueError(f"{path} belongs to another recipe; choose another run folder or remove it.")
        begun_with = facts.get("inputs", self.inputs)  # runs of before have none
        for name in sorted(begun_with.keys() | self.inputs.keys()):
            if begun_with.get(name) != self.inputs.get(name):
                raise ValueError(
                    f"{path} was begun with another {name}; give it again, or choose another run folder."
                )
        self.step = restore_state(path, self.student, self.optimizer)["step"]


def parameter_groups(student: Student, recipe: Recipe) -> list[dict[str, object]]:
    """The adapter at the recipe's rate, the vision merger at its own.

    The vision blocks' adapter is a group of its own: under FSDP it is whole where the rest is sharded, and
    the optimizer steps through a group's tensors together.
    """
    named = trainable(student)
    merger = [parameter for name, parameter in named.items() if ".visual.merger." in name]
    blocks = [parameter for name, parameter in named.items() if ".visual.blocks." in name]
    adapter = [parameter for name, parameter in named.items() if ".visual." not in name]
    groups: list[dict[str, object]] = [{"params": adapter, "lr": recipe.learning_rate}]
    if merger:
        groups.append({"params": merger, "lr": recipe.merger_learning_rate})
    if blocks:
        groups.append({"params": blocks, "lr": recipe.learning_rate})
    return groups
