"""Which builds of FAISS are installed: for CPUs and for GPUs they are distributions of one module.

pip does not know that they exclude each other. The one installed last overwrites files of the other, and
uninstalling one takes away files of both; what is left may be of two versions.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import packages_distributions

_MODULE = "faiss"


def installed_builds() -> Sequence[str]:
    """The distributions that bring the module, by name; one where all is well."""
    return sorted(set(packages_distributions().get(_MODULE, ())))


def mend_builds(builds: Sequence[str], pip: str = "pip") -> str | None:
    """The shell commands that leave one of several builds, whole; None where there are not several.

    The one kept is for GPUs if any is: it searches on CPUs too, and was asked for.
    """
    if len(builds) < 2:
        return None
    kept = next((build for build in builds if "gpu" in build), builds[0])
    return f"{pip} uninstall -y {' '.join(builds)} && {pip} install --no-deps {kept}"
