"""Rows to batches: token ids, image places and who is whose positive."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from model.prompts import PromptEncoder
from model.types import InputType
from training.losses import false_negative_mask
from training.mmeb import TrainingRow, strip_image_marker
from training.pictures import TrainingImages

TEMPLATE_TOKENS = 16  # room for the prompt's own tokens beside the text and the image

Content = tuple[str, str]  # a document: its text and its image's path
Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class Encoded:
    """One tokenised side: its ids, the image it holds (a path) and how many ids are the response."""

    ids: list[int]
    image: str | None
    response: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """One process's part of a step, and what the loss over the whole batch needs to know.

    The whole batch has B queries and N distinct documents; of W processes, each encodes B / W queries and
    N / W documents (rounded up; the last process repeats documents that are then left out again).
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
        self,
        prompts: PromptEncoder,
        images: TrainingImages,
        max_text_tokens: int,
        max_augment_tokens: int,
        hard_negatives: int = 1,
        wrong_answers: float = 0.0,
    ) -> None:
        """`hard_negatives` of each row's are used, from the first on; for `wrong_answers` see `Recipe`."""
        self.prompts, self.images = prompts, images
        self.max_text_tokens, self.max_augment_tokens = max_text_tokens, max_augment_tokens
        self.hard_negatives, self.wrong_answers = hard_negatives, wrong_answers

    def query(self, row: TrainingRow, wrong_answer: str = "") -> Encoded:
        """Prompt, route token, augmentation (if any) and EOS.

        A `wrong_answer` stands in the augmentation's place, and is nothing to learn to write.
        """
        image = row.qry_image_path or None
        prompt = self._encode(row.qry, image, InputType.QUERY)
        if wrong_answer:
            answer = self.prompts.plain_ids(wrong_answer)[: self.max_augment_tokens]
            return Encoded(self.prompts.augmented(prompt, answer), image)
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

    def build(self, dataset: str, rows: Sequence[TrainingRow], rank: int = 0, processes: int = 1) -> Batch:
        """Queries and distinct documents; a document that several rows share is encoded once.

        Raises ValueError where the rows cannot be divided among the processes.
        """
        if len(rows) % processes:
            raise ValueError(
                f"A batch of {len(rows)} queries does not divide among {processes} processes; "
                f"make batch_size a multiple of {processes}."
            )
        contents = self._contents(rows)
        order = {content: number for number, content in enumerate(contents)}
        target = torch.tensor([order[row.pos_text, row.pos_image_path] for row in rows])
        masked = false_negative_mask(target, [row.pos_key for row in rows], list(contents.values()))
        own_rows, own_contents = (
            _share(list(rows), rank, processes),
            _share(list(contents), rank, processes),
        )
        self.images.prepare(
            [row.qry_image_path for row in own_rows if row.qry_image_path]
            + [image for _, image in own_contents if image]
        )
        wrong = wrong_answers(dataset, own_rows, self.wrong_answers)
        queries = [self.query(row, answer) for row, answer in zip(own_rows, wrong, strict=True)]
        return Batch(dataset, queries, [self.document(*content) for content in own_contents], target, masked)

    def max_tokens(self, image: str | None) -> int:
        """The longest prompt that is not cut."""
        tokens = self.images.fixed_tokens or self._image_tokens(image)
        return self.max_text_tokens + tokens + TEMPLATE_TOKENS

    def _contents(self, rows: Sequence[TrainingRow]) -> dict[Content, str]:
        """Every document of the batch with its key: the positives, then the hard negatives."""
        contents: dict[Content, str] = {}
        for row in rows:
            contents.setdefault((row.pos_text, row.pos_image_path), row.pos_key)
        for row in rows:
            for negative in row.hard_negatives[: self.hard_negatives]:
                contents.setdefault((negative.text, negative.image_path), negative.key)
        return contents

    def _encode(self, text: str, image: str | None, input_type: InputType) -> list[int]:
        return self.prompts.encode(
            strip_image_marker(text) or None,
            None,
            self._image_tokens(image),
            input_type,
            max_tokens=self.max_tokens(image),
            truncate=True,
        )

    def _image_tokens(self, image: str | None) -> int:
        if not image:
            return 0
        rows, columns = self.images.grid(image)
        return rows * columns


def wrong_answers(dataset: str, rows: Sequence[TrainingRow], share: float) -> list[str]:
    """For about `share` of the rows with an augmentation, another row's; "" for the others.

    Which rows and whose answers depends on the rows alone, so a resumed run draws the same.
    """
    answers = [row.augmentation for row in rows]
    draws = random.Random("/".join([dataset, *(row.qry for row in rows)]))
    chosen = []
    for answer in answers:
        others = [other for other in answers if other and other.lower() != answer.lower()]
        wrong = bool(answer and others) and draws.random() < share
        chosen.append(draws.choice(others) if wrong else "")
    return chosen


def _share(entries: list[Entry], rank: int, processes: int) -> list[Entry]:
    """The process's run of the entries; all runs are of one length, the last ones filled up by repetition."""
    size = -(-len(entries) // processes)
    filled = entries + [entries[-1]] * (size * processes - len(entries))
    return filled[rank * size : (rank + 1) * size]
