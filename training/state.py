"""A run's resumable state as one safetensors file: parameters, optimizer moments and the step.

Under FSDP the file holds whole tensors, so a run may go on with another number of processes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor


def save_state(
    path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, facts: dict[str, Any], write: bool = True
) -> None:
    """Write the trainable parameters, their optimizer state and `facts` (JSON), atomically.

    Sharded parameters are put together, which every process must take part in; one alone should `write`.
    """
    names = {id(parameter): name for name, parameter in trainable(module).items()}
    tensors = {f"parameter/{name}": whole(p.detach()) for name, p in trainable(module).items()}
    for parameter, entries in optimizer.state.items():
        for key, value in entries.items():
            tensors[f"optimizer/{key}/{names[id(parameter)]}"] = whole(torch.as_tensor(value))
    if not write:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata={"facts": json.dumps(facts)})
    partial.replace(path)


def restore_state(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Read what `save_state` wrote into the same module and optimizer; returns the facts.

    Raises KeyError when the file lacks a parameter of the module.
    """
    with safe_open(path, "pt") as file:
        facts: dict[str, Any] = json.loads(file.metadata()["facts"])
        stored: dict[str, Tensor] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    for name, parameter in trainable(module).items():
        with torch.no_grad():
            parameter.copy_(placed_like(parameter, stored[f"parameter/{name}"]))
        prefix, suffix = "optimizer/", f"/{name}"
        keys = [key for key in stored if key.startswith(prefix) and key.endswith(suffix)]
        if keys:
            optimizer.state[parameter] = {
                key[len(prefix) : -len(suffix)]: placed_like(parameter, stored[key])
                if stored[key].ndim
                else stored[key]
                for key in keys
            }
    return facts


def load_parameters(path: Path, module: nn.Module, skip: str | None = None) -> None:
    """Take a run's trained parameters, without its optimizer: as another run's start, or to export them.

    Parameters whose name holds `skip` keep their own values. Raises KeyError when one is missing.
    """
    with safe_open(path, "pt") as file, torch.no_grad():
        for name, parameter in trainable(module).items():
            if skip is None or skip not in name:
                parameter.copy_(placed_like(parameter, file.get_tensor(f"parameter/{name}")))


def stored_facts(path: Path) -> dict[str, Any]:
    """The facts of a state file, without loading its tensors."""
    with safe_open(path, "pt") as file:
        facts: dict[str, Any] = json.loads(file.metadata()["facts"])
    return facts


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that learn, by name."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def whole(tensor: Tensor) -> Tensor:
    """A sharded tensor put together (a collective call), any other as it is; contiguous."""
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).contiguous()


def placed_like(parameter: Tensor, values: Tensor) -> Tensor:
    """Whole values as the parameter lies: on its device, and sharded as it is."""
    values = values.to(parameter.device)
    if not isinstance(parameter, DTensor):
        return values
    # Every process has read the same file, so nothing needs to be sent (src_data_rank).
    return distribute_tensor(values, parameter.device_mesh, parameter.placements, src_data_rank=None)
