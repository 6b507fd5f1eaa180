"""`solomon doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from service.cli.exits import Exit
from service.cli.options import DEFAULT_URL, AsJson, Url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.doctor.findings import Finding

_MARKS = {"good": "[green]good[/]", "note": "[yellow]note[/]", "missing": "[red]missing[/]"}


def doctor(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Examine this machine: what it has, what would be used, what is missing and how to get it.

    Exit code 1 if something is missing that serving needs, as the environment
    and its SOLOMON_ variables are now; notes do not count.
    """
    from service.doctor.findings import State

    findings = list(_examine(url))
    _show(findings, as_json)
    if any(finding.state is State.MISSING for finding in findings):
        raise typer.Exit(int(Exit.FAILED))


def _examine(url: str) -> Iterator[Finding]:
    from service.cli.serve import load_settings
    from service.doctor.extras import examine_extras, examine_faiss
    from service.doctor.files import examine_files
    from service.doctor.machine import examine_machine
    from service.doctor.serving import examine_serving

    settings = load_settings()  # a bad one ends the command, and names itself
    yield from examine_machine(settings)
    yield from examine_faiss()
    yield from examine_files(settings)
    yield from examine_serving(settings, url)
    yield from examine_extras()


def _show(findings: list[Finding], as_json: bool) -> None:
    from service.cli.output import print_json, print_marked

    if as_json:
        members = ("about", "state", "found", "mend")
        print_json({"findings": [{name: getattr(each, name) for name in members} for each in findings]})
        return
    print_marked(
        (_MARKS[finding.state], finding.about, finding.found, finding.mend or "") for finding in findings
    )
