"""`python -m benchmarks.faults`: the long form of every scenario, or of those that are named."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping

from benchmarks.faults import breaking, clients, fuzzing, overload, soak
from benchmarks.faults.report import Report
from benchmarks.faults.target import Target, serving
from benchmarks.reporting import surroundings, write_results

CHECKPOINT = "checkpoint"
_PACKAGES = ("torch", "transformers", "faiss-cpu", "fastapi", "uvicorn", "schemathesis")


Scenario = Callable[[Target], Report]


def scenarios(minutes: float, examples: int) -> Mapping[str, tuple[Scenario, Mapping[str, str]]]:
    """Every scenario by its name, with the settings of its server."""
    return {
        "fuzz": (lambda target: fuzzing.fuzz(target, examples), {}),
        "clients": (lambda target: clients.bad_clients(target, rounds=12), clients.BAD_CLIENTS_SETTINGS),
        "bodies": (lambda target: clients.flood_of_bodies(target, clients=40), clients.FLOOD_SETTINGS),
        "overload": (lambda target: overload.overload(target, minutes * 60 / 5), overload.SETTINGS),
        "engine": (breaking.dead_engine, {}),
        "kill": (lambda target: breaking.killed_process(target, rounds=5), {}),
        "disk": (breaking.full_disk, {}),
        "clock": (lambda target: breaking.skewed_clock(target, jumps=6), {}),
        "soak": (lambda target: soak.soak(target, minutes * 60), {}),
    }


def run(name: str, chosen: Mapping[str, tuple[Scenario, Mapping[str, str]]], tiny: bool) -> Report:
    """Run one scenario on a server of its own."""
    if name == CHECKPOINT:  # starts its own servers, which do not start
        return breaking.corrupt_checkpoint()
    scenario, settings = chosen[name]
    with serving(tiny, **settings) as target:
        return scenario(target)


def main() -> int:
    """Run what is asked for; 1 if a target was missed."""
    names = [*scenarios(1, 1), CHECKPOINT]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("scenario", nargs="*", help=f"of {', '.join(names)}; all of them if none is named")
    parser.add_argument("--tiny", action="store_true", help="the tests' tiny model, not the shipped one")
    parser.add_argument("--minutes", type=float, default=20.0, help="of the soak; a fifth of it for overload")
    parser.add_argument("--examples", type=int, default=100, help="valid, and invalid, calls of an operation")
    options = parser.parse_args()
    unknown = set(options.scenario) - set(names)
    if unknown:
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    chosen = scenarios(options.minutes, options.examples)
    missed = 0
    for name in options.scenario or names:
        report = run(name, chosen, options.tiny)
        for figure, value in report.figures.items():
            print(f"{name:<10} {figure:<32} {value}")
        for target in report.missed + report.late:
            print(f"{name:<10} MISSED: {target}")
        model = "tiny" if options.tiny else "shipped"
        results = {"surroundings": surroundings(_PACKAGES), "model": model, **report.as_dict()}
        print(f"{name:<10} written to {write_results(f'faults_{name}', results)}", flush=True)
        missed += len(report.missed) + len(report.late)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
