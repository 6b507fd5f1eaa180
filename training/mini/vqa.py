"""Questions about pictures: easy-VQA's coloured shapes, and pictures whose answer must be known."""

from __future__ import annotations

import json
import random
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.installing import install_command
from training.mini.evaluating import draw, evaluation_row, text_documents
from training.mini.questions import KNOWLEDGE
from training.mini.rendering import write_image
from training.mini.splits import Split, split_of
from training.mmeb import IMAGE_MARKER, EvaluationRow, TrainingRow

INSTRUCTIONS = (
    "Represent the given image with the following question:",  # MMEB's
    "Answer the question about the picture:",
    "Look at the image and answer.",
    "",
    "",
)
QUESTIONS_AN_IMAGE = 3
ANSWER_KINDS = (
    frozenset({"yes", "no"}),
    frozenset({"circle", "rectangle", "triangle"}),
    frozenset({"green", "red", "gray", "teal", "black", "yellow", "brown", "blue"}),
)


@dataclass(frozen=True, slots=True)
class PictureQuestion:
    """A question about a picture; negatives are other answers of the same `kind`.

    `shown` says what the picture shows; it is empty where every wording of the question asks for just that.
    """

    image: str
    question: str
    answer: str
    kind: str
    split: Split
    shown: str = ""

    @property
    def augmentation(self) -> str:
        """What is seen, then what follows ("kangaroo: joey"): two steps that one pass need not do at once."""
        return f"{self.shown}: {self.answer}" if self.shown else self.answer


def easy_vqa(image_root: Path, limit: int, seed: int) -> list[PictureQuestion]:
    """The first `limit` pictures of easy-VQA's training part, some questions each, split by their bytes.

    The package's own test part stays untouched. Raises ValueError where the package is not installed.
    """
    try:
        import easy_vqa as package
    except ImportError as error:
        raise ValueError(f"easy-VQA is missing: {install_command('train')}.") from error
    folder = Path(package.__file__).parent / "data" / "train"
    entries = json.loads((folder / "questions.json").read_text())
    by_image: dict[int, list[tuple[str, str]]] = {}
    for question, answer, number in entries:
        by_image.setdefault(number, []).append((question, answer))
    rng = random.Random(seed)
    found = []
    for number, asked in sorted(by_image.items())[:limit]:
        content = (folder / "images" / f"{number}.png").read_bytes()
        path = write_image(image_root, f"easy_vqa/{number:04d}.png", content)
        shown = shape_of(asked)
        for question, answer in rng.sample(asked, min(QUESTIONS_AN_IMAGE, len(asked))):
            kind = next(str(place) for place, kind in enumerate(ANSWER_KINDS) if answer in kind)
            found.append(PictureQuestion(path, question, answer, kind, split_of(content), shown))
    return found


def shape_of(asked: Sequence[tuple[str, str]]) -> str:
    """The coloured shape that a picture's questions and answers tell, "teal rectangle", as far as they do.

    A word is the picture's if it is an answer or part of a "what ...", if "is there ..." has a yes, or
    "is there not ..." a no.
    """
    _, shapes, colors = ANSWER_KINDS
    told = set[str]()
    for question, answer in asked:
        words = set(re.findall(r"\w+", question))
        denied = bool(words & {"no", "not"})
        if "what" in words or answer == ("no" if denied else "yes"):
            told |= words
        told.add(answer)
    return " ".join(word for kind in (colors, shapes) for word in sorted(kind & told))


def picture_facts(pictures: Sequence[tuple[str, str, Split]], seed: int) -> list[PictureQuestion]:
    """Questions of `picture_facts.toml` about pictures (path, name of what it shows, side).

    At most two questions a picture: some names have facts in a dozen tables.
    """
    tables = tomllib.loads((KNOWLEDGE / "picture_facts.toml").read_text("utf-8"))
    rng = random.Random(seed)
    found = []
    for path, name, split in pictures:
        kinds = [kind for kind, table in tables.items() if name in table["facts"]]
        for kind in rng.sample(kinds, min(2, len(kinds))):
            table = tables[kind]
            question = rng.choice(table["wordings"])
            found.append(PictureQuestion(path, question, table["facts"][name], kind, split, name))
    return found


def vqa_rows(questions: Sequence[PictureQuestion], seed: int) -> list[TrainingRow]:
    """Training rows: the answer is the document and ends the augmentation; a like one is the negative."""
    rng = random.Random(seed)
    training = [question for question in questions if question.split is Split.TRAINING]
    by_kind: dict[str, set[str]] = {}
    for question in training:
        by_kind.setdefault(question.kind, set()).add(question.answer)
    rows = []
    for question in training:
        others = sorted(by_kind[question.kind] - {question.answer})
        negative = rng.choice(others) if others else ""
        rows.append(
            TrainingRow(
                qry=as_query(question.question, rng.choice(INSTRUCTIONS)),
                qry_image_path=question.image,
                pos_text=question.answer,
                neg_text=negative,
                augmentation=question.augmentation,
                pos_key=question.answer.lower(),
                neg_key=negative.lower(),
            )
        )
    return rows


def vqa_evaluation(
    questions: Sequence[PictureQuestion], limit: int, candidates: int, seed: int, split: Split
) -> list[EvaluationRow]:
    """A split's questions, half of them with MMEB's instruction, against answers to all questions."""
    rng = random.Random(seed)
    answers = text_documents(sorted({question.answer for question in questions}))
    asked = [question for question in questions if question.split is split]
    rng.shuffle(asked)
    rows = []
    for number, question in enumerate(asked[:limit]):
        right = (question.answer, "")
        query = as_query(question.question, INSTRUCTIONS[0] if number % 2 else "")
        others = draw(rng, answers, right, candidates - 1)
        rows.append(evaluation_row(query, question.image, right, others, question.augmentation))
    return rows


def as_query(question: str, instruction: str) -> str:
    """A question about an image as MMEB writes one: marker, instruction, question."""
    return f"{IMAGE_MARKER}\n{instruction} {question}" if instruction else f"{IMAGE_MARKER}\n{question}"
