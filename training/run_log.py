"""What a run writes down of every step: a line of JSON and, where asked for, TensorBoard's curves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from model.installing import install_command

LOG = "log.jsonl"
TENSORBOARD = "tensorboard"


class RunLog:
    """The log of the run in `folder`; entries of steps that a crash made run again simply follow."""

    def __init__(self, folder: Path, tensorboard: bool = False) -> None:
        """Raises ModuleNotFoundError naming the extra where TensorBoard is asked for and missing."""
        self.path = folder / LOG
        self._folder, self._wanted = folder / TENSORBOARD, tensorboard
        self._writer: Any = None

    def write(self, step: int, dataset: str, figures: dict[str, float]) -> None:
        """Add a step's figures."""
        with self.path.open("a") as log:
            log.write(json.dumps({"dataset": dataset, "step": step, **figures}) + "\n")
        if self._wanted:
            self._curves(step, dataset, figures)

    def seconds(self, step: int) -> float:
        """Time spent in the steps up to `step`, whatever interruptions lay between them."""
        times: dict[int, float] = {}
        if self.path.exists():
            for line in self.path.read_text().splitlines():
                entry = json.loads(line)
                times[entry["step"]] = entry["seconds"]  # a step run again after a crash counts once
        return round(sum(seconds for number, seconds in times.items() if number <= step), 1)

    def close(self) -> None:
        """Flush the curves to disk."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _curves(self, step: int, dataset: str, figures: dict[str, float]) -> None:
        if self._writer is None:
            # The step that a resumed run begins with: what TensorBoard has from there on is dropped.
            self._writer = _summary_writer(self._folder, step)
        for name, value in figures.items():
            self._writer.add_scalar(f"step/{name}", value, step)
        for name in ("l_rep", "l_gen", "confidence", "route_accuracy"):
            self._writer.add_scalar(f"{name}/{dataset}", figures[name], step)


def _summary_writer(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ModuleNotFoundError(
            f"Curves need TensorBoard: {install_command('train')}, or train with --no-tensorboard."
        ) from error
    return SummaryWriter(str(folder), purge_step=step)
