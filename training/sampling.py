"""Which rows a step sees: a dataset by weight, and the next batch of it.

Every batch is of one dataset (its in-batch negatives are then worth telling apart), and which rows a step
sees depends only on the recipe's seed and the step, so a resumed run sees what it would have seen.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from training.mmeb import TrainingRow


def sampling_weights(
    datasets: Mapping[str, float] | Sequence[str], sizes: Mapping[str, int], temperature: float
) -> dict[str, float]:
    """How often each dataset is drawn: as given, or in proportion to its size ** (1 / temperature).

    A temperature of 1 draws rows evenly; a high one draws datasets evenly, whatever their sizes.
    """
    if isinstance(datasets, Mapping):
        return dict(datasets)
    powers = {name: sizes[name] ** (1 / temperature) for name in datasets}
    total = sum(powers.values())
    return {name: power / total for name, power in powers.items()}


class Sampler:
    """Chooses each step's dataset by weight and its rows by shuffled passes over the dataset."""

    def __init__(
        self,
        rows: Mapping[str, Sequence[TrainingRow]],
        weights: Mapping[str, float],
        batch_size: int,
        seed: int,
    ) -> None:
        """Raises ValueError for a dataset with fewer rows than a batch."""
        for name, found in rows.items():
            if len(found) < batch_size:
                raise ValueError(
                    f"Dataset '{name}' has {len(found)} rows, fewer than a batch of {batch_size}."
                )
        self.rows, self.weights, self.batch_size, self.seed = rows, weights, batch_size, seed
        self.schedule: list[tuple[str, int]] = []
        self._drawn = dict.fromkeys(rows, 0)
        self._random = random.Random(seed)

    def at(self, step: int) -> tuple[str, list[TrainingRow]]:
        """The dataset and rows of a step."""
        names = sorted(self.rows)
        while len(self.schedule) <= step:
            name = self._random.choices(names, [self.weights[n] for n in names])[0]
            self.schedule.append((name, self._drawn[name]))
            self._drawn[name] += 1
        name, number = self.schedule[step]
        rows = self.rows[name]
        per_pass = len(rows) // self.batch_size
        order = list(range(len(rows)))
        random.Random(f"{self.seed}/{name}/{number // per_pass}").shuffle(order)
        start = number % per_pass * self.batch_size
        return name, [rows[i] for i in order[start : start + self.batch_size]]
