"""Writes the latest ratios into benchmarks/README.md, from the results files alone.

    python -m benchmarks.summary

The page's table is what the JSON files say, with each one's machine and commit, so it cannot say otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer

from benchmarks.reporting import RESULTS

PAGE = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- results: written by benchmarks.summary -->", "<!-- end of results -->"
_NO_FIGURES = {"surroundings", "scenario", "missed", "late", "model"}
FAULTS_BEGIN, FAULTS_END = "<!-- faults: written by benchmarks.summary -->", "<!-- end of faults -->"


def table(results: dict[str, dict[str, Any]]) -> Iterator[str]:
    """A Markdown table of every ratio; `results` are the files' contents by name."""
    yield "| benchmark | ratio | measured | target | machine | commit, date |"
    yield "| --- | --- | ---: | --- | --- | --- |"
    for name, found in sorted(results.items()):
        at = found["surroundings"]
        device = at["cpu"] if at.get("device", "cpu") == "cpu" else at["device"]
        machine = f"{device}, {at['cores']} cores, {at.get('dtype', '')}"
        for ratio in found["ratios"]:
            target = ratio["target"]
            goal = (
                f"{target[0]} {target[1]:g}, {'met' if ratio['met'] else '**missed**'}" if target else "none"
            )
            when = f"{at['commit']}, {at['date'][:10]}"
            yield f"| {name} | {ratio['name']} | {ratio['value']:.3g} | {goal} | {machine} | {when} |"


def faults_table(results: dict[str, dict[str, Any]]) -> Iterator[str]:
    """A Markdown table of what each fault scenario saw, and of its targets which it missed."""
    yield "| scenario | seen | targets | machine | commit, date |"
    yield "| --- | --- | --- | --- | --- |"
    for _, found in sorted(results.items()):
        figures = {name: value for name, value in found.items() if name not in _NO_FIGURES}
        seen = "; ".join(f"{name.replace('_', ' ')} {_compact(value)}" for name, value in figures.items())
        missed = found["missed"] + found["late"]
        goal = f"**missed**: {', '.join(missed)}" if missed else "met"
        at = found["surroundings"]
        machine, when = f"{at['cpu']}, {at['cores']} cores", f"{at['commit']}, {at['date'][:10]}"
        yield f"| {found['scenario']} | {seen} | {goal} | {machine} | {when} |"


def _compact(value: Any) -> str:
    if isinstance(value, dict):
        if any(isinstance(number, dict) for number in value.values()):
            return ", ".join(value)  # what each of them saw is in the file
        return ", ".join(f"{key}: {number}" for key, number in value.items())
    return " to ".join(map(str, value)) if isinstance(value, list) else str(value)


def rendered(page: str, results: dict[str, dict[str, Any]]) -> str:
    """The page with its table of ratios replaced. Raises `ValueError` where the marks are missing."""
    return _replaced(page, (BEGIN, END), table(results) if results else ())


def rendered_faults(page: str, results: dict[str, dict[str, Any]]) -> str:
    """The page with its table of faults replaced. Raises `ValueError` where the marks are missing."""
    return _replaced(page, (FAULTS_BEGIN, FAULTS_END), faults_table(results) if results else ())


def _replaced(page: str, marks: tuple[str, str], rows: Iterable[str]) -> str:
    head, begin, rest = page.partition(marks[0])
    _, end, tail = rest.partition(marks[1])
    if not begin or not end:
        raise ValueError(f"The page needs the marks {marks[0]} and {marks[1]} around its table.")
    body = "\n".join(rows) or "Nothing has been measured yet."
    return f"{head}{begin}\n\n{body}\n\n{end}{tail}"


def main() -> None:
    """Rewrite the table in benchmarks/README.md."""
    results = {path.stem: json.loads(path.read_text()) for path in RESULTS.glob("*.json")}
    with_ratios = {name: found for name, found in results.items() if "ratios" in found}
    faults = {name: found for name, found in results.items() if "scenario" in found}
    page = rendered(PAGE.read_text("utf-8"), with_ratios)
    PAGE.write_text(rendered_faults(page, faults), "utf-8")
    typer.echo(f"{len(with_ratios) + len(faults)} results in {PAGE}")


if __name__ == "__main__":
    typer.run(main)
