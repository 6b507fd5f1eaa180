"""Whether an evaluation row's content was trained on, looked up in the files of all training sets together.

Three things must not have been seen, under whatever data set: the bytes of the query's and of the right
candidate's image; a text query that is answered by a text; and the pair of the two texts, either way round,
or a right candidate that is a sentence of its own. A class name or a short answer may well occur in
training: it is the class of other photos, and the answer to other questions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from training.mini.facts import plain
from training.mmeb import EvaluationRow, TrainingRow, read_training_rows, strip_image_marker

SENTENCE = 5  # words from which on a text is taken for one that is no mere name


class TrainedContents:
    """What the training sets of a data folder show and say."""

    def __init__(self, image_root: Path) -> None:
        self.image_root = image_root
        self._hashes: dict[str, bytes] = {}
        self._images: set[bytes] = set()
        self._asked: set[str] = set()
        self._pairs: set[frozenset[str]] = set()
        self._sentences: set[str] = set()

    @classmethod
    def of(cls, folder: Path) -> TrainedContents:
        """The contents of every file below `<folder>/train`."""
        contents = cls(folder / "images")
        for path in sorted((folder / "train").glob("*.parquet")):
            contents.add(read_training_rows(path))
        return contents

    def add(self, rows: Iterable[TrainingRow]) -> None:
        """Take in the rows of a training set."""
        for row in rows:
            negatives = [negative.image_path for negative in row.hard_negatives]
            for path in (row.qry_image_path, row.pos_image_path, *negatives):
                if path:
                    self._images.add(self._hash(path))
            query, positive = core(row.qry), core(row.pos_text)
            if row.qry_image_path or row.pos_image_path:
                continue
            self._asked.add(query)
            self._pairs.add(frozenset((query, positive)))
            self._sentences |= {text for text in (query, positive) if len(text.split()) >= SENTENCE}

    def leak(self, row: EvaluationRow) -> str | None:
        """What of this row was trained on, or None."""
        for path in (row.qry_img_path, row.tgt_img_path[0]):
            if path and self._hash(path) in self._images:
                return f"the image {path}"
        if row.qry_img_path or row.tgt_img_path[0]:
            return None
        query, positive = core(row.qry_text), core(row.tgt_text[0])
        if query in self._asked:
            return f"the query '{query}'"
        if frozenset((query, positive)) in self._pairs:
            return f"the pair '{query}' and '{positive}'"
        for text in (query, positive):
            if text in self._sentences:
                return f"the sentence '{text}'"
        return None

    def _hash(self, path: str) -> bytes:
        if path not in self._hashes:
            self._hashes[path] = hashlib.sha256((self.image_root / path).read_bytes()).digest()
        return self._hashes[path]


def core(text: str) -> str:
    """A text without image marker and instruction (the lines before the last), case and punctuation."""
    return plain(strip_image_marker(text).rpartition("\n")[2])
