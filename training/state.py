"""A run's resumable state as one safetensors file: parameters, optimizer moments and the step.

Under FSDP the file holds whole tensors, so a run may go on with another number of processes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
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

    Raises ValueError for a file that is damaged, is no run's state, or lacks a parameter of the module.
    """
    with _opened(path) as file:
        facts = _facts(file)
        stored: dict[str, Tensor] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    for name, parameter in trainable(module).items():
        if f"parameter/{name}" not in stored:
            raise ValueError(f"{path} lacks {name}: it is another model's run. Give its own run folder.")
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

    Parameters whose name holds `skip` keep their own values. Raises ValueError as `restore_state` does.
    """
    with _opened(path) as file, torch.no_grad():
        held = set(file.keys())
        for name, parameter in trainable(module).items():
            if skip is not None and skip in name:
                continue
            if f"parameter/{name}" not in held:
                raise ValueError(f"{path} lacks {name}: it is another model's run.")
            parameter.copy_(placed_like(parameter, file.get_tensor(f"parameter/{name}")))


def stored_facts(path: Path) -> dict[str, Any]:
    """The facts of a state file, without loading its tensors. Raises ValueError as `restore_state` does."""
    with _opened(path) as file:
        return _facts(file)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, "pt") as file:
            yield file
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} is not a training run's state, or is damaged ({error}). Its run has to begin again."
        ) from error


def _facts(file: Any) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((file.metadata() or {})["facts"])
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
