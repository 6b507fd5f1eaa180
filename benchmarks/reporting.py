"""What every benchmark says of its surroundings, and where its figures go."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Ratio:
    """A figure that machines can be compared by; `target` is `("<=", 1.1)` or the like, None without one."""

    name: str
    value: float
    target: tuple[str, float] | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.target is None:
            return None
        relation, bound = self.target
        return bool(self.value <= bound if relation == "<=" else self.value >= bound)

    def described_target(self) -> str:
        """The target in a table's cell."""
        if self.target is None:
            return ""
        return f"{self.target[0]} {self.target[1]:g}: {'met' if self.met else 'missed'}"


def ratio_rows(ratios: Sequence[Ratio]) -> list[dict[str, Any]]:
    """Ratios as they are written to a results file."""
    return [{**asdict(ratio), "met": ratio.met} for ratio in ratios]


def show(title: str, figures: Sequence[tuple[str, str]], ratios: Sequence[Ratio]) -> None:
    """Print measured figures and, below them, the ratios with their targets."""
    table = Table(title=title)
    for heading in ("", "measured", "target"):
        table.add_column(heading, justify="right" if heading == "measured" else "left")
    for name, figure in figures:
        table.add_row(name, figure, "")
    table.add_section()
    for ratio in ratios:
        table.add_row(ratio.name, f"{ratio.value:.3g}", ratio.described_target())
    Console().print(table)


def surroundings(packages: tuple[str, ...]) -> dict[str, Any]:
    """The machine, the versions of packages, the commit (with "+" if files differ from it), and the time."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in packages},
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "threads": os.environ.get("OMP_NUM_THREADS", "unset"),
    }


def write_results(name: str, results: dict[str, Any]) -> Path:
    """Write figures to `benchmarks/results/NAME.json`, in place of earlier ones."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(results, indent=2) + "\n")
    return path


def resident_bytes(peak: bool = False) -> int:
    """Memory of this process that is in RAM, now or at its peak (Linux)."""
    wanted = "VmHWM:" if peak else "VmRSS:"
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(wanted):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {wanted}")


def _commit() -> str:
    try:
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, check=True)
        changed = subprocess.run(["git", "status", "--porcelain"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit.stdout.decode().strip() + ("+" if changed.stdout.strip() else "")


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
