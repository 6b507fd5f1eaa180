"""What a log may say of collections and documents: names and ids are content, as texts are.

A library shows them, since its log is its caller's own. A server that must not calls `show_names(False)`;
its log then has a mark in place of a collection's name, numbers in place of ids, and the kinds of errors in
place of their messages.
"""

from __future__ import annotations

from hashlib import sha256

_MARK_DIGITS = 8
_shown = True


def show_names(shown: bool) -> None:
    """Say for this process whether logs may have names, ids, and messages that hold them."""
    global _shown
    _shown = shown


def names_are_shown() -> bool:
    """Whether logs may have names and ids."""
    return _shown


def logged_name(name: str) -> str:
    """A collection's name for a log, or the mark by which whoever knows the name finds its lines."""
    return name if _shown else f"#{sha256(name.encode()).hexdigest()[:_MARK_DIGITS]}"


def logged_error(error: BaseException) -> str:
    """What went wrong, for a log; without names it is the kinds of the error and of what caused it."""
    if _shown:
        return str(error)
    if isinstance(error, OSError) and error.strerror is not None:
        return f"{type(error).__name__} ({error.strerror})"
    told = type(error).__name__
    return told if error.__cause__ is None else f"{told} by {logged_error(error.__cause__)}"
