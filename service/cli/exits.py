"""How commands end: exit codes that scripts can trust, and messages on standard error."""

from __future__ import annotations

from enum import IntEnum
from typing import NoReturn

import typer


class Exit(IntEnum):
    """The exit codes."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    UNAUTHORISED = 4


class CommandFailed(typer.Exit):
    """The end of a command that told why; `message` is what it told."""

    def __init__(self, message: str, code: Exit) -> None:
        super().__init__(int(code))
        self.message = message


def fail(message: str, code: Exit = Exit.FAILED) -> NoReturn:
    """Say what went wrong and how to mend it, and end."""
    typer.echo(f"solomon: {message}", err=True)
    raise CommandFailed(message, code)
