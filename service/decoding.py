"""What computes the tokens of an augmentation, in words for logs and metrics."""

from __future__ import annotations

from service.settings import Settings

TORCH = "torch"


def decoding(settings: Settings) -> str:
    """ "avx2 int8", or another instruction set of the compiled kernels; "torch" where they are not used."""
    from model.engine import EngineSettings  # brings torch along, which start-up loads in the background
    from model.kernels.library import instruction_set

    engine = EngineSettings(device=settings.device, dtype=settings.dtype)
    compiled = instruction_set()
    return f"{compiled} int8" if compiled is not None and engine.quantises_steps() else TORCH
