"""Where a run begins that goes on from another: a checkpoint's adapter, or a run's state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model.checkpoint import MANIFEST, read_manifest, verify
from training.export import ADAPTER
from training.provenance import file_sha256
from training.state import stored_facts, trainable


def load_adapter(folder: Path, peft_model: Any) -> None:
    """Put a checkpoint's adapter (LoRA and route tokens) into the model; its vision weights are not taken.

    Raises CheckpointError for a damaged checkpoint, ValueError for one with other adapted parts or ranks.
    """
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    verify(folder)
    weights = load_file(folder / ADAPTER)
    try:
        result = set_peft_model_state_dict(peft_model, weights)
    except RuntimeError as error:
        raise ValueError(f"{folder} does not fit this recipe's adapter: {error}") from error
    learned = {name for name in trainable(peft_model) if ".visual.merger." not in name}
    missing = sorted(learned & set(result.missing_keys))
    if missing or result.unexpected_keys:
        name = [*missing, *result.unexpected_keys][0]
        raise ValueError(f"{folder} does not fit this recipe's adapter: {name} is in one of them only.")


def start_facts(path: Path) -> dict[str, Any]:
    """What a manifest says of its run's start: a run's own facts, or a checkpoint's training and hash."""
    if path.is_file():
        return stored_facts(path)
    manifest = read_manifest(path)
    return {
        "checkpoint": manifest.name,
        "manifest_sha256": file_sha256(path / MANIFEST),
        "adapter_sha256": manifest.files[ADAPTER],
        "training": manifest.training,
    }
