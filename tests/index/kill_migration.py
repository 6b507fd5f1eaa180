"""Opens a data directory and kills itself at a stated point of a migration; run by `test_migration`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from index import building, folders
from index.store import FaissStore


def kill_at(owner: Any, name: str, call_number: int) -> None:
    """Let the process end by SIGKILL in place of one call of a function."""
    original = getattr(owner, name)
    calls = 0

    def counted(*args: Any, **options: Any) -> Any:
        nonlocal calls
        if calls == call_number:
            os.kill(os.getpid(), signal.SIGKILL)
        calls += 1
        return original(*args, **options)

    setattr(owner, name, counted)


def main(folder: Path, point: str) -> None:
    what, _, number = point.partition(" ")
    match what:
        case "record":
            kill_at(building.LogBuilder, "add", int(number))
        case "finish":
            kill_at(building.LogBuilder, "finish", 0)
        case "move":
            kill_at(folders, "move", int(number))
    FaissStore(folder).close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
