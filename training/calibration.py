"""The threshold on P(/augment): the value that best separates the two kinds of held-out query."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def best_threshold(probabilities: Sequence[float], wants_augmentation: Sequence[bool]) -> float:
    """The threshold with the most right routes; the middle of the widest gap among equals.

    A query is augmented from the threshold on, it included. `probabilities` are P(/augment) by query.
    Raises ValueError when one kind of query is missing.
    """
    values, wanted = np.asarray(probabilities, float), np.asarray(wants_augmentation, bool)
    if wanted.all() or not wanted.any():
        raise ValueError("Calibration needs queries of both kinds: some to augment and some to embed.")
    order = np.argsort(values, kind="stable")
    values, wanted = values[order], wanted[order]
    edges = np.concatenate([[0.0], values, [1.0]])
    # A threshold inside gap i (between edges i and i + 1) embeds the first i queries, augments the rest.
    # Equal probabilities have no gap between them; only below the first is the edge itself a threshold.
    embedded_right = np.concatenate([[0], np.cumsum(~wanted)])
    augmented_right = wanted.sum() - np.concatenate([[0], np.cumsum(wanted)])
    right, gaps = embedded_right + augmented_right, np.diff(edges)
    possible = gaps > 0
    possible[0] = True
    candidates = np.flatnonzero(possible & (right == right[possible].max()))
    best = candidates[np.argmax(gaps[candidates])]
    middle = (edges[best] + edges[best + 1]) / 2
    return float(middle if middle > edges[best] else edges[best + 1])
