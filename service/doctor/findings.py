"""One finding of an examination."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a finding bears on serving."""

    GOOD = "good"
    NOTE = "note"  # works, but could be better, or is optional and not there
    MISSING = "missing"  # serving will not work, or not as it is set


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what was found, and how to get what is missing."""

    about: str
    state: State
    found: str
    mend: str | None = None


def good(about: str, found: str) -> Finding:
    """As it should be."""
    return Finding(about, State.GOOD, found)


def note(about: str, found: str, mend: str | None = None) -> Finding:
    """Worth knowing."""
    return Finding(about, State.NOTE, found, mend)


def missing(about: str, found: str, mend: str) -> Finding:
    """In the way of serving."""
    return Finding(about, State.MISSING, found, mend)
