"""Writes the latest ratios into benchmarks/README.md, from the results files alone.

    python -m benchmarks.summary

The page's table is what the JSON files say, with each one's machine and commit, so it cannot say otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from benchmarks.reporting import RESULTS

PAGE = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- results: written by benchmarks.summary -->", "<!-- end of results -->"


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


def rendered(page: str, results: dict[str, dict[str, Any]]) -> str:
    """The page with its table replaced. Raises `ValueError` where the marks are missing."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"The page needs the marks {BEGIN} and {END} around its table.")
    body = "\n".join(table(results)) if results else "Nothing has been measured yet."
    return f"{head}{BEGIN}\n\n{body}\n\n{END}{tail}"


def main() -> None:
    """Rewrite the table in benchmarks/README.md."""
    results = {path.stem: json.loads(path.read_text()) for path in RESULTS.glob("*.json")}
    with_ratios = {name: found for name, found in results.items() if "ratios" in found}
    PAGE.write_text(rendered(PAGE.read_text("utf-8"), with_ratios), "utf-8")
    typer.echo(f"{len(with_ratios)} results in {PAGE}")


if __name__ == "__main__":
    typer.run(main)
