"""What commands print: tables for people, JSON for scripts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


def print_pairs(pairs: Mapping[str, Any], console: Console | None = None) -> None:
    """Names and values, those that are None left out."""
    table = Table.grid(padding=(0, 2))
    for name, value in pairs.items():
        if value is not None:
            table.add_row(f"[bold]{escape(name)}[/]", escape(str(value)))
    (console or Console()).print(table)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table with a head."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")  # ids are for copying, so nothing is cut
    for row in rows:
        table.add_row(*(escape("" if cell is None else str(cell)) for cell in row))
    Console().print(table)


def print_marked(rows: Iterable[tuple[str, str, str, str]]) -> None:
    """Findings: a mark (Rich's markup), what it is about, what was found, and below it how to mend it."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for mark, about, found, mend in rows:
        table.add_row(mark, f"[bold]{escape(about)}[/]", escape(found))
        if mend:
            table.add_row("", "", f"[dim]{escape(mend)}[/]")
    Console().print(table)
