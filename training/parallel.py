"""One training on several processes: who encodes what, and how vectors and gradients come together.

Accelerate's launcher starts a process a device (`training/accelerate/*.yaml`) and Accelerate joins them.
Each holds the whole model (DDP), or a shard of the language model's layers (FSDP, torch's `fully_shard`).

DDP's own hooks reduce a gradient as soon as one backward pass has reached it. A step here has a backward
pass for every chunk, and which parameters a chunk reaches differs (one without an image never reaches the
vision merger), so the replicated gradients are summed in one call when the step's last pass is done: the
same sum, without a rule about who must reach what.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

PATIENCE = timedelta(hours=2)  # the first process computes image features alone, and writes the checkpoint

if TYPE_CHECKING:
    from training.student import Student


@dataclass(frozen=True, slots=True)
class Processes:
    """This process's place among those of the training; alone by default."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rank: int = 0
    count: int = 1
    sharded: bool = False  # FSDP

    @classmethod
    def launched(cls, device: str = "auto") -> Processes:
        """As the launcher's environment says. `device`: cpu, cuda, or auto (cuda where there is one)."""
        chosen = device
        if device == "auto":
            chosen = "cuda" if torch.cuda.is_available() else "cpu"
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls(torch.device(chosen))
        from accelerate import PartialState

        state = PartialState(cpu=chosen.startswith("cpu"), timeout=PATIENCE)
        sharded = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
        return cls(state.device, state.process_index, state.num_processes, sharded)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all processes have come here."""
        if self.count > 1:
            dist.barrier()

    def part(self) -> None:
        """Leave the group when the training is over; nothing can be exchanged afterwards."""
        if self.count > 1:
            dist.barrier()
            dist.destroy_process_group()

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """The first process goes through the block before the others do."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    def gather(self, vectors: Tensor) -> Tensor:
        """[n, ...] of every process -> [n * count, ...], by rank; no gradient flows through.

        The joint step takes the loss's gradient at the gathered vectors themselves, see `training.step`.
        """
        if self.count == 1:
            return vectors
        from accelerate.utils import gather

        gathered: Tensor = gather(vectors.contiguous())
        return gathered

    def total(self, values: Tensor) -> Tensor:
        """The sum over the processes."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def shard(self, student: Student) -> None:
        """Under FSDP, spread the language model over the processes, before the optimizer is made.

        The vision tower stays whole on each: whether a process's chunk holds an image differs, and FSDP
        needs all processes to enter the same layers in the same order.
        """
        if not self.sharded or self.count == 1:
            return
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, fully_shard

        mesh = init_device_mesh(self.device.type, (self.count,))
        for layer in student.qwen.model.language_model.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(student, mesh=mesh, ignored_params=set(student.qwen.model.visual.parameters()))
        for module in student.modules():
            if isinstance(module, FSDPModule):
                # A plain sum of gradients: the loss is a mean over the whole batch already.
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum the gradients of what every process holds whole; FSDP has summed its own by now.

        A parameter that no process reached keeps no gradient, as it would in a single process.
        """
        replicated = [p for p in parameters if not isinstance(p, DTensor)]
        if self.count == 1 or not replicated:
            return
        reached = torch.tensor([float(p.grad is not None) for p in replicated], device=self.device)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in replicated]
        flat = torch.cat([reached, *(gradient.float().flatten() for gradient in gradients)])
        dist.all_reduce(flat)
        sums = flat[len(replicated) :].split([p.numel() for p in replicated])
        for parameter, seen, total in zip(replicated, flat[: len(replicated)].tolist(), sums, strict=True):
            parameter.grad = total.view_as(parameter).to(parameter.dtype) if seen else None

    def clip_gradients(self, parameters: Iterable[nn.Parameter], max_norm: float) -> float:
        """Scale the gradients down to `max_norm` in all; returns the norm that they had."""
        found = [p for p in parameters if p.grad is not None]
        if not any(isinstance(p, DTensor) for p in found):
            return nn.utils.clip_grad_norm_(found, max_norm).item()
        gradients = [p.grad for p in found]
        shards = [g.to_local() for g in gradients if isinstance(g, DTensor)]
        wholes = [g for g in gradients if g is not None and not isinstance(g, DTensor)]
        squares = self.total(_square_sum(shards, self.device)) + _square_sum(wholes, self.device)
        norm = squares.sqrt().item()
        scale = max_norm / (norm + 1e-6)
        if scale < 1:
            for gradient in shards + wholes:
                gradient.mul_(scale)
        return norm


def _square_sum(tensors: list[Tensor], device: torch.device) -> Tensor:
    total = torch.zeros((), device=device)
    for tensor in tensors:
        total = total + tensor.float().square().sum()
    return total
