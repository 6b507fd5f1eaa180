"""Rows to batches: token ids, image places and who is whose positive.

Every batch is of one dataset (its in-batch negatives are then worth telling apart), and which rows a step
sees depends only on the recipe's seed and the step, so a resumed run sees what it would have seen.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.prompts import PromptEncoder
from model.types import InputType
from training.losses import false_negative_mask
from training.mmeb import TrainingRow, strip_image_marker


@dataclass(frozen=True, slots=True)
class Encoded:
    """One tokenised side: its ids, the image it holds (a path) and how many ids are the response."""

    ids: list[int]
    image: str | None
    response: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """A step's work: B queries with their responses, N distinct documents, and the targets.

    target [B] indexes each query's positive; masked [B, N] marks false negatives.
    """

    dataset: str
    queries: list[Encoded]
    documents: list[Encoded]
    target: Tensor
    masked: Tensor


class BatchBuilder:
    """Encodes rows as queries with responses and as documents."""

    def __init__(
        self, prompts: PromptEncoder, image_tokens: int, max_text_tokens: int, max_augment_tokens: int
    ) -> None:
        """`image_tokens` is what every image costs in the prompt (images are square of one size)."""
        self.prompts, self.image_tokens = prompts, image_tokens
        self.max_tokens = max_text_tokens + image_tokens + 16
        self.max_augment_tokens = max_augment_tokens

    def query(self, row: TrainingRow) -> Encoded:
        """Prompt, route token, augmentation (if any) and EOS."""
        image = row.qry_image_path or None
        prompt = self._encode(row.qry, image, InputType.QUERY)
        if row.augmentation:
            answer = self.prompts.plain_ids(row.augmentation)[: self.max_augment_tokens]
            ids = self.prompts.augmented(prompt, answer)
        else:
            ids = self.prompts.one_pass(prompt)
        return Encoded(ids, image, len(ids) - len(prompt))

    def document(self, text: str, image_path: str) -> Encoded:
        """A document, EOS included."""
        image = image_path or None
        return Encoded(self._encode(text, image, InputType.DOCUMENT), image)

    def build(self, dataset: str, rows: Sequence[TrainingRow]) -> Batch:
        """Queries and distinct documents; a document that several rows share is encoded once."""
        contents: dict[tuple[str, str], str] = {}
        for row in rows:
            contents.setdefault((row.pos_text, row.pos_image_path), row.pos_key)
        for row in rows:
            if row.neg_text or row.neg_image_path:
                contents.setdefault((row.neg_text, row.neg_image_path), row.neg_key)
        order = {content: number for number, content in enumerate(contents)}
        target = torch.tensor([order[row.pos_text, row.pos_image_path] for row in rows])
        masked = false_negative_mask(target, [row.pos_key for row in rows], list(contents.values()))
        documents = [self.document(text, image) for text, image in contents]
        return Batch(dataset, [self.query(row) for row in rows], documents, target, masked)

    def _encode(self, text: str, image: str | None, input_type: InputType) -> list[int]:
        return self.prompts.encode(
            strip_image_marker(text) or None,
            None,
            self.image_tokens if image else 0,
            input_type,
            max_tokens=self.max_tokens,
            truncate=True,
        )


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
