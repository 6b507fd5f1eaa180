"""The teacher that is a Solomon model: it writes answers, and those are kept that help retrieval."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.types import Embedder, Item, RouteChoice
from training.margins import CANDIDATES, Content, MarginMeter, Standing, candidate_sets, forced
from training.mmeb import TrainingRow
from training.subsets import ImageRoot
from training.teacher.answers import Advance, Answer, Cost

CHUNK = 64  # queries between two signs of progress


@dataclass(frozen=True, slots=True)
class SelfSettings:
    """How a model's own answers are written and chosen.

    `min_gain` is what an answer must add to the margin (a cosine difference) where it leaves the rank as
    it was; `candidates` the size of the set that it is ranked in.
    """

    min_gain: float = 0.0
    candidates: int = CANDIDATES
    max_augment_tokens: int | None = None
    seed: int = 0


class SelfTeacher:
    """Lets a model write, and keeps an answer only where it helps retrieval; implements `Teacher`.

    The writer is forced to augment. Without a judge its own two vectors of the query are compared, after
    `/embed` and after the answer. With a judge (needed when the writer is a base whose vectors mean
    nothing yet) the judge embeds the query as it is, and the query with the answer as its second line.
    """

    def __init__(
        self, writer: Embedder, judge: Embedder | None, image_root: Path, settings: SelfSettings
    ) -> None:
        self.writer, self.judge, self.settings = writer, judge, settings
        self.images, self.meter = ImageRoot(image_root), MarginMeter(judge or writer, image_root)
        self.cost = Cost()

    @property
    def facts(self) -> dict[str, Any]:
        """Writer, judge and rule."""
        return {
            "teacher": "self",
            "writer": self.writer.info.model,
            "writer_sha256": self.writer.info.checkpoint_sha256,
            "judge": (self.judge or self.writer).info.model,
            "min_gain": self.settings.min_gain,
            "candidates": self.settings.candidates,
            "seed": self.settings.seed,
        }

    def answer(self, dataset: str, rows: Sequence[TrainingRow], advance: Advance) -> list[Answer]:
        """The answers that help, and for the others what they did instead.

        A row of which an image is missing gets none, and stands in nobody's candidates.
        """
        started = time.monotonic()
        answers = [Answer(problem=self._fault(row)) for row in rows]
        usable = [number for number, answer in enumerate(answers) if not answer.problem]
        advance(len(rows) - len(usable))
        found = [rows[number] for number in usable]
        candidates = candidate_sets(found, self.settings.candidates, self.settings.seed)
        for start in range(0, len(found), CHUNK):
            part = slice(start, start + CHUNK)
            for number, answer in zip(usable[part], self._chosen(found[part], candidates[part]), strict=True):
                answers[number] = answer
            advance(len(found[part]))
        self.cost.queries += len(found)
        self.cost.seconds += time.monotonic() - started
        return answers

    def _fault(self, row: TrainingRow) -> str:
        """What is wrong with the row's images; empty where nothing is."""
        negatives = [negative.image_path for negative in row.hard_negatives]
        paths = filter(None, (row.qry_image_path, row.pos_image_path, *negatives))
        return next((fault for path in paths if (fault := self.images.fault(path))), "")

    def _chosen(self, rows: Sequence[TrainingRow], candidates: list[list[Content]]) -> list[Answer]:
        items = self.meter.items(rows)
        plain = [found for found, _ in self.meter.measure(items, candidates, forced(RouteChoice.EMBED))]
        options = forced(RouteChoice.AUGMENT, self.settings.max_augment_tokens)
        if self.judge is None:
            pairs = self.meter.measure(items, candidates, options)
            augmented, texts = [found for found, _ in pairs], [query.augmentation or "" for _, query in pairs]
        else:
            texts = [query.augmentation or "" for query in self.writer.embed(items, options)]
            augmented = self._judged(items, texts, candidates)
        return [
            self._kept(text, before, after)
            for text, before, after in zip(texts, plain, augmented, strict=True)
        ]

    def _judged(
        self, items: Sequence[Item], texts: Sequence[str], candidates: list[list[Content]]
    ) -> list[Standing]:
        answered = [
            Item("\n".join(filter(None, (item.text, text))), item.image)
            for item, text in zip(items, texts, strict=True)
        ]
        pairs = self.meter.measure(answered, candidates, forced(RouteChoice.EMBED))
        return [found for found, _ in pairs]

    def _kept(self, text: str, before: Standing, after: Standing) -> Answer:
        if not text:
            return Answer(problem="the model wrote nothing")
        gain = after.margin - before.margin
        if after.rank < before.rank or (after.rank == before.rank and gain > self.settings.min_gain):
            return Answer(text)
        return Answer(problem=f"no help: rank {before.rank} to {after.rank}, margin {gain:+.3f}")
