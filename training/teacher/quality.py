"""How good a dataset's augmentations look without training on them: lengths, agreement, copies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_WORD = re.compile(r"\w+", re.UNICODE)
SHORTEST_COPY = 4  # words: a shorter answer may well be a word of the query ("Is it red or blue?")
COPIED_SHARE = 0.8  # of the answer's words, from which it is a copy


@dataclass(frozen=True, slots=True)
class Quality:
    """Figures over the rows of one dataset; shares are None where nothing could be compared.

    `parsed` is the share of rows with an answer. `exact` and `containing` compare with the data's own
    answer where it has one: the same words, and those words in a row somewhere in the answer. `copying` is
    the share of answers that say the query again.
    """

    rows: int
    answered: int
    parsed: float
    words_mean: float | None
    words_median: float | None
    words_p95: float | None
    words_longest: int | None
    compared: int
    exact: float | None
    containing: float | None
    copying: float | None


def measure_quality(queries: Sequence[str], answers: Sequence[str], truths: Sequence[str]) -> Quality:
    """The figures for aligned queries, answers and true answers; an empty string means "none"."""
    given = [(q, a, t) for q, a, t in zip(queries, answers, truths, strict=True) if a]
    lengths = [len(answer.split()) for _, answer, _ in given]
    compared = [(answer, truth) for _, answer, truth in given if truth]
    return Quality(
        rows=len(answers),
        answered=len(given),
        parsed=round(len(given) / len(answers), 4) if answers else 0.0,
        words_mean=round(float(np.mean(lengths)), 2) if lengths else None,
        words_median=float(np.median(lengths)) if lengths else None,
        words_p95=round(float(np.quantile(lengths, 0.95)), 1) if lengths else None,
        words_longest=max(lengths, default=None),
        compared=len(compared),
        exact=_share([words(answer) == words(truth) for answer, truth in compared]),
        containing=_share([contains(answer, truth) for answer, truth in compared]),
        copying=_share([copies(answer, query) for query, answer, _ in given]),
    )


def words(text: str) -> list[str]:
    """A text's words in lower case, without punctuation and leading articles."""
    found = _WORD.findall(text.casefold())
    return found[1:] if len(found) > 1 and found[0] in ("a", "an", "the") else found


def contains(text: str, part: str) -> bool:
    """Whether the words of `part` stand in a row somewhere in `text`."""
    whole, sought = words(text), words(part)
    starts = range(len(whole) - len(sought) + 1)
    return bool(sought) and any(whole[start : start + len(sought)] == sought for start in starts)


def copies(answer: str, query: str) -> bool:
    """Whether an answer only says the query again: holds all of it, or hardly a word of its own."""
    answered, asked = words(answer), words(query)
    if answered == asked:
        return True
    if len(asked) >= SHORTEST_COPY and contains(answer, query):
        return True
    if len(answered) < SHORTEST_COPY:
        return False
    known = set(asked)
    return sum(word in known for word in answered) / len(answered) >= COPIED_SHARE


def _share(found: Sequence[bool]) -> float | None:
    return round(float(np.mean(found)), 4) if found else None
