"""A vision tower in a file: bf16 safetensors, with an account of its training in the file's metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from training.provenance import FACTS


def save_tower(tower: nn.Module, path: Path, facts: dict[str, Any] | None = None) -> None:
    """Write the tower and merger as bf16 safetensors, with `facts` of its training in the file's metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.bfloat16().contiguous() for name, tensor in tower.state_dict().items()}
    save_file(tensors, path, metadata={FACTS: json.dumps(facts or {})})


def load_tower(tower: nn.Module, path: Path) -> None:
    """Read what `save_tower` wrote. Raises ValueError where it is no safetensors file or of another shape."""
    try:
        tower.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"{path} does not hold the weights of this vision tower: {error}") from error
