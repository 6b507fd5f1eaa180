"""The learning rate's course over a run."""

from __future__ import annotations

import math


def warmup_cosine(step: int, warmup_steps: int, steps: int) -> float:
    """The factor of the peak rate at a step: linear warm-up, then a cosine to a twentieth."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, steps - warmup_steps)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress))
