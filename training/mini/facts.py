"""Everyday facts: tables of pairs (cow, calf) with several wordings to ask for one side by the other.

A table of `training/knowledge/facts/*.toml` is one relation: `wordings` ask for the value by the key, the
optional `reverse` for the key by the value where only one key has it. `{x}` and `{y}` are key and value,
`{a}` the article that fits `{x}`, `{is}` and `{do}` agree with it.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from training.mini.questions import KNOWLEDGE, Question, held_out_countries, knowledge_questions
from training.mini.splits import Split, split_of

FORWARD, REVERSE = 2, 1  # wordings of a fact that are used, each way
STOP_WORDS = frozenset(
    {
        *("a", "an", "the", "of", "in", "on", "at", "to", "for", "with", "by", "from", "and", "or"),
        *("is", "are", "do", "does", "did", "have", "has", "not", "call", "called", "name", "people"),
        *("what", "which", "who", "where", "when", "how", "many", "you", "your", "we", "it", "its"),
        *("that", "this", "one"),
    }
)
_BEFORE_HEAD_ENDS = re.compile(r" (?:of|in|on|for|when|by|with|without|from|besides) ")
_SINGULAR_ENDS = ("ss", "us", "'s", "is")
_IRREGULAR_PLURALS = ("teeth", "mice", "feet", "people")
_CONSONANT_SOUNDS = ("uni", "uk", "eu", "us")


@dataclass(frozen=True, slots=True)
class Fact:
    """One pair of a relation, with the side that it is on."""

    relation: str
    subject: str
    answer: str
    split: Split


@dataclass(frozen=True, slots=True)
class Relation:
    """A table: how to ask, and the pairs."""

    name: str
    topic: str
    wordings: tuple[str, ...]
    reverse: tuple[str, ...]
    facts: dict[str, str]


def relations() -> list[Relation]:
    """All tables of facts, by file and name."""
    found = []
    for path in sorted((KNOWLEDGE / "facts").glob("*.toml")):
        for name, table in tomllib.loads(path.read_text("utf-8")).items():
            wordings, reverse = tuple(table["wordings"]), tuple(table.get("reverse", ()))
            found.append(Relation(name, table["topic"], wordings, reverse, table["facts"]))
    return found


def split_of_pair(one: str, other: str) -> Split:
    """The side of a pair of words, whichever is asked for and whatever the relation."""
    return split_of("|".join(sorted((one.lower(), other.lower()))))


def everyday_questions() -> list[Question]:
    """Every fact in a few of its wordings, without those that another data set has on another side.

    Left out are facts that name a held-out country, facts that a knowledge question of the other side
    states as well, and questions that are asked already.
    """
    knowledge = knowledge_questions()
    stated = StatedFacts(knowledge)
    asked = {plain(question.question) for question in knowledge}
    found = []
    for relation in relations():
        for fact, question, answer in _questions_of(relation):
            if stated.sides(fact) - {fact.split} or plain(question) in asked:
                continue
            asked.add(plain(question))
            found.append(Question(question, answer, f"everyday: {relation.name}", fact.split))
    return found


def _questions_of(relation: Relation) -> Iterator[tuple[Fact, str, str]]:
    """A relation's facts with a question and its answer."""
    values = Counter(value.lower() for value in relation.facts.values())
    keys = {key.lower() for key in relation.facts}
    for key, value in relation.facts.items():
        if _names_held_out_country(f"{key} {value}"):
            continue
        fact = Fact(relation.name, key, value, split_of_pair(key, value))
        rng = random.Random(f"{relation.name}/{key}")
        for wording in rng.sample(relation.wordings, min(FORWARD, len(relation.wordings))):
            yield fact, fill(wording, key), value
        if values[value.lower()] == 1 and value.lower() not in keys:
            for wording in rng.sample(relation.reverse, min(REVERSE, len(relation.reverse))):
                yield fact, wording.replace("{y}", value), key


def fill(wording: str, subject: str) -> str:
    """A wording with its subject; a wording that begins with the subject begins with a capital letter."""
    plural = is_plural(subject)
    article = "an" if _begins_with_vowel_sound(subject) else "a"
    values = {"x": subject, "a": article, "A": article.capitalize()}
    text = wording.format(**values, **{"is": "are" if plural else "is", "do": "do" if plural else "does"})
    return text[0].upper() + text[1:] if wording.startswith("{") else text


def is_plural(subject: str) -> bool:
    """Whether the noun that a subject is about ("bottles for wine") is a plural, judged by its ending."""
    head = _BEFORE_HEAD_ENDS.split(subject)[0].split()[-1]
    return head in _IRREGULAR_PLURALS or (head.endswith("s") and not head.endswith(_SINGULAR_ENDS))


def _begins_with_vowel_sound(subject: str) -> bool:
    return subject[0].lower() in "aeiou" and not subject.lower().startswith(_CONSONANT_SOUNDS)


def plain(text: str) -> str:
    """A text's letters and digits in lower case: the same for two texts that differ in punctuation only."""
    return " ".join(re.findall(r"\w+", text.lower()))


def content_words(text: str) -> frozenset[str]:
    """The words that a text is about, without a plural's s."""
    words = (word.removesuffix("s") if len(word) > 3 else word for word in plain(text).split())
    return frozenset(words) - STOP_WORDS


class StatedFacts:
    """Finds the questions that say what a fact says: its answer, and at least half of its words."""

    def __init__(self, questions: Iterable[Question]) -> None:
        self._by_answer: dict[str, list[tuple[frozenset[str], Split]]] = {}
        for question in questions:
            entry = (content_words(question.question), question.split)
            self._by_answer.setdefault(plain(question.answer), []).append(entry)

    def sides(self, fact: Fact) -> set[Split]:
        """The sides on which a question states the fact, whichever of its two it asks for."""
        return {
            split
            for words, answer in ((fact.subject, fact.answer), (fact.answer, fact.subject))
            for stated, split in self._by_answer.get(plain(answer), [])
            if _shares_half(content_words(words), stated)
        }


def _shares_half(words: frozenset[str], others: frozenset[str]) -> bool:
    return bool(words) and 2 * len(words & others) >= len(words)


@cache
def _held_out_names() -> re.Pattern[str]:
    return re.compile(r"\b(?:" + "|".join(map(re.escape, held_out_countries())) + r")\b")


def _names_held_out_country(text: str) -> bool:
    return bool(_held_out_names().search(text))
