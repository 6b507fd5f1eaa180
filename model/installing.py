"""How an optional part of the package is installed: the hint that errors end with."""

from __future__ import annotations

import os
import sys
from pathlib import Path

DISTRIBUTION = "solomon-embed"
_ROOT = Path(__file__).parent.parent


def install_command(extra: str, root: Path = _ROOT) -> str:
    """The command that installs an extra, to be copied into the shell that this was started from.

    `root` is the folder of the packages: a checkout where pyproject.toml lies beside them, whose extras are
    installed from it with the pip of this environment. Anywhere else it is the distribution's name.
    """
    if not (root / "pyproject.toml").is_file():
        return f"pip install '{DISTRIBUTION}[{extra}]'"
    here = Path.cwd()
    pip = Path(sys.executable).parent / "pip"
    place = "." if here == root else str(root)
    command = os.path.relpath(pip, here) if pip.is_relative_to(here) else str(pip)
    return f"{command} install -e '{place}[{extra}]'"
