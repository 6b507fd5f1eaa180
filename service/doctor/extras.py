"""Optional parts: what is installed of each, what it is for, and whether two of them collide."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from importlib.util import find_spec

from index.faiss_builds import installed_builds, mend_builds
from model.installing import install_command
from service.doctor.findings import Finding, good, missing, note

# A module that only the extra brings, and what the extra is for.
_EXTRAS = {
    "train": ("accelerate", "solomon train, evaluate, data, synthesize, pilot"),
    "milvus": ("pymilvus", "collections in Milvus"),
    "ray": ("ray", "solomon index add --engine ray"),
    "mteb": ("mteb", "evaluation with MTEB"),
}


def examine_faiss() -> Iterator[Finding]:
    """A finding for the builds of FAISS, of which there must be one."""
    builds = installed_builds()
    mend = mend_builds(builds, f"{shlex.quote(sys.executable)} -m pip")
    if mend is not None:
        found = f"{' and '.join(builds)} overwrite each other's files (extra gpu)"
        yield missing("FAISS", found, mend)
    elif builds:
        yield good("FAISS", builds[0])


def examine_extras() -> Iterator[Finding]:
    """A finding for each extra."""
    for extra, (module, purpose) in _EXTRAS.items():
        if find_spec(module) is not None:
            yield good(f"extra {extra}", purpose)
        else:
            yield note(f"extra {extra}", f"not installed ({purpose})", install_command(extra))
