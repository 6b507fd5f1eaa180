"""A run's resumable state as one safetensors file: parameters, optimizer moments and the step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn


def save_state(
    path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, facts: dict[str, Any]
) -> None:
    """Write the trainable parameters, their optimizer state and `facts` (JSON), atomically."""
    names = {id(parameter): name for name, parameter in trainable(module).items()}
    tensors = {f"parameter/{name}": p.detach().contiguous() for name, p in trainable(module).items()}
    for parameter, entries in optimizer.state.items():
        for key, value in entries.items():
            tensors[f"optimizer/{key}/{names[id(parameter)]}"] = torch.as_tensor(value).contiguous()
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
            parameter.copy_(stored[f"parameter/{name}"])
        prefix, suffix = "optimizer/", f"/{name}"
        keys = [key for key in stored if key.startswith(prefix) and key.endswith(suffix)]
        if keys:
            optimizer.state[parameter] = {
                key[len(prefix) : -len(suffix)]: stored[key].to(
                    parameter.device if stored[key].ndim else "cpu"
                )
                for key in keys
            }
    return facts


def load_parameters(path: Path, module: nn.Module, skip: str) -> None:
    """Take another run's trained parameters as a start, without its optimizer.

    Parameters whose name holds `skip` keep their own values. Raises KeyError when one is missing.
    """
    with safe_open(path, "pt") as file, torch.no_grad():
        for name, parameter in trainable(module).items():
            if skip not in name:
                parameter.copy_(file.get_tensor(f"parameter/{name}"))


def stored_facts(path: Path) -> dict[str, Any]:
    """The facts of a state file, without loading its tensors."""
    with safe_open(path, "pt") as file:
        facts: dict[str, Any] = json.loads(file.metadata()["facts"])
    return facts


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that learn, by name."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
