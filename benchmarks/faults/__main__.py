"""`python -m benchmarks.faults`: the long form of every scenario, or of those that are named."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping

from benchmarks.faults import breaking, clients, fuzzing, overload, soak
from benchmarks.faults.report import Report
from benchmarks.reporting import surroundings, write_results

_PACKAGES = ("torch", "transformers", "faiss-cpu", "fastapi", "uvicorn", "schemathesis")


def scenarios(tiny: bool, minutes: float, examples: int) -> Mapping[str, Callable[[], Report]]:
    """Every scenario by its name."""
    return {
        "fuzz": lambda: fuzzing.fuzz(tiny, examples),
        "clients": lambda: clients.bad_clients(tiny, rounds=12),
        "bodies": lambda: clients.flood_of_bodies(tiny, clients=40),
        "overload": lambda: overload.overload(tiny, minutes * 60 / 5),
        "engine": lambda: breaking.dead_engine(tiny),
        "kill": lambda: breaking.killed_process(tiny, rounds=5),
        "disk": lambda: breaking.full_disk(tiny),
        "checkpoint": breaking.corrupt_checkpoint,
        "clock": lambda: breaking.skewed_clock(tiny, jumps=6),
        "soak": lambda: soak.soak(tiny, minutes * 60),
    }


def main() -> int:
    """Run what is asked for; 1 if a target was missed."""
    names = list(scenarios(True, 1, 1))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("scenario", nargs="*", help=f"of {', '.join(names)}; all of them if none is named")
    parser.add_argument("--tiny", action="store_true", help="the tests' tiny model, not the shipped one")
    parser.add_argument("--minutes", type=float, default=20.0, help="of the soak; a fifth of it for overload")
    parser.add_argument("--examples", type=int, default=100, help="valid, and invalid, calls of an operation")
    options = parser.parse_args()
    unknown = set(options.scenario) - set(names)
    if unknown:
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    chosen = scenarios(options.tiny, options.minutes, options.examples)
    missed = 0
    for name in options.scenario or names:
        report = chosen[name]()
        for figure, value in report.figures.items():
            print(f"{name:<10} {figure:<32} {value}")
        for target in report.missed:
            print(f"{name:<10} MISSED: {target}")
        model = "tiny" if options.tiny else "shipped"
        results = {**surroundings(_PACKAGES), "model": model, **report.as_dict()}
        print(f"{name:<10} written to {write_results(f'faults_{name}', results)}", flush=True)
        missed += len(report.missed)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
