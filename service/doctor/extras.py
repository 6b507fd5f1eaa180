"""Optional parts: what is installed of each, and what it is for."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from model.installing import install_command
from service.doctor.findings import Finding, good, note

# A module that only the extra brings, and what the extra is for.
_EXTRAS = {
    "train": ("accelerate", "solomon train, evaluate, data, synthesize, pilot"),
    "milvus": ("pymilvus", "collections in Milvus"),
    "ray": ("ray", "solomon index add --engine ray"),
    "mteb": ("mteb", "evaluation with MTEB"),
}


def examine_extras() -> Iterator[Finding]:
    """A finding for each extra."""
    for extra, (module, purpose) in _EXTRAS.items():
        if find_spec(module) is not None:
            yield good(f"extra {extra}", purpose)
        else:
            yield note(f"extra {extra}", f"not installed ({purpose})", install_command(extra))
