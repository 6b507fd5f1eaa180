"""The everyday facts and phrases: their format, no duplicates, and that no fact stands on two sides."""

import json
import re

import pytest

from training.mini import phrases, questions
from training.mini.facts import (
    Fact,
    StatedFacts,
    content_words,
    everyday_questions,
    fill,
    is_plural,
    plain,
    relations,
    split_of_pair,
)
from training.mini.questions import KNOWLEDGE
from training.mini.splits import Split


@pytest.fixture(scope="module")
def tables():
    return relations()


@pytest.fixture(scope="module")
def asked():
    return everyday_questions()


def test_several_thousand_questions_of_many_relations(asked, tables):
    assert len(tables) >= 60
    assert len(asked) + len(questions.knowledge_questions()) > 5000
    assert len({question.answer for question in asked}) > 1000
    assert len({plain(question.question) for question in asked}) == len(asked)
    known = {plain(question.question) for question in questions.knowledge_questions()}
    assert not {plain(question.question) for question in asked} & known


def test_questions_are_filled_in_and_answers_are_short(asked):
    for question in asked:
        assert not re.search(r"[{}]|\s\s", question.question), question
        assert 6 <= len(question.question) <= 100
        assert 1 <= len(question.answer.split()) <= 5
        assert question.answer == question.answer.strip()


def test_a_relation_names_a_key_once_and_asks_in_several_ways(tables):
    for relation in tables:
        assert len(relation.wordings) >= 3, relation.name
        assert all("{x}" in wording for wording in relation.wordings), relation.name
        assert all("{y}" in wording for wording in relation.reverse), relation.name
        keys = [plain(key) for key in relation.facts]
        assert len(set(keys)) == len(keys), relation.name
        assert all(plain(key) != plain(value) or key in SAME for key, value in relation.facts.items())


SAME = {"cuckoo", "fish", "deer", "chicken", "turkey", "duck"}  # a cuckoo calls cuckoo; plurals; meats


def test_an_answer_does_not_stand_in_its_question_too_often(asked):
    given = [q for q in asked if plain(q.answer) in plain(q.question).split()]
    assert len(given) < len(asked) / 50


def test_a_pair_is_on_one_side_whatever_is_asked(asked, tables):
    stated = StatedFacts(asked)
    facts = [
        Fact(relation.name, key, value, split_of_pair(key, value))
        for relation in tables
        for key, value in relation.facts.items()
    ]
    assert split_of_pair("Cow", "calf") is split_of_pair("calf", "cow")
    exact = {}
    for fact in facts:
        pair = frozenset((fact.subject.lower(), fact.answer.lower()))
        assert exact.setdefault(pair, fact.split) is fact.split
    assert stated.sides(Fact("made up", "no such thing", "nothing at all", Split.TRAINING)) == set()


def test_no_fact_is_trained_that_a_held_out_question_asks(asked, tables):
    """Over the hand-written questions and the tables together, by answer and words, not by wording."""
    knowledge = StatedFacts(questions.knowledge_questions())
    used = {(plain(question.question), plain(question.answer)) for question in asked}
    for relation in tables:
        for key, value in relation.facts.items():
            fact = Fact(relation.name, key, value, split_of_pair(key, value))
            if knowledge.sides(fact) - {fact.split}:
                for wording in relation.wordings:
                    assert (plain(fill(wording, key)), plain(value)) not in used


def test_unseen_questions_are_of_other_kinds(asked, tables):
    unseen = questions.unseen_questions()
    assert len(unseen) >= 150
    assert len({question.answer.lower() for question in unseen}) >= 100
    assert len({plain(question.question) for question in unseen}) == len(unseen)
    assert all(len(question.answer.split()) <= 4 for question in unseen)
    stated = StatedFacts(unseen)
    training = [question for question in asked if question.split is Split.TRAINING]
    known = {plain(q.question) for q in (*training, *questions.knowledge_questions())}
    assert not known & {plain(question.question) for question in unseen}
    kinds = ("complete the saying", "goes with it", "proverb", "text message", "star sign", "nursery rhyme")
    assert not [q for q in known if any(kind in q for kind in kinds)]
    opposites = next(relation for relation in tables if relation.name == "opposite")
    for key, value in opposites.facts.items():
        assert not stated.sides(Fact("opposite", key, value, Split.TRAINING)), key


def test_no_everyday_question_names_a_held_out_country(asked):
    held_out = questions.held_out_countries()
    names = re.compile(r"\b(?:" + "|".join(map(re.escape, held_out)) + r")\b")
    assert "Japan" in held_out
    assert not [q for q in asked if names.search(f"{q.question} {q.answer}")]


def test_phrases_are_distinct_and_split_by_pair():
    pairs = phrases.read_phrases()
    assert len(pairs) > 300
    lines = (KNOWLEDGE / "phrases.jsonl").read_text().splitlines()
    assert all(set(json.loads(line)) == {"text", "paraphrase"} for line in lines)
    assert len({plain(text) for text, _ in pairs}) == len(pairs)
    assert all(plain(text) != plain(other) for text, other in pairs)
    trained = {frozenset((row.qry, row.pos_text)) for row in phrases.phrase_rows(pairs, 1)}
    rows = phrases.phrase_evaluation(pairs, Split.DEVELOPMENT)
    assert len(rows) >= 20
    assert not trained & {frozenset((row.qry_text, row.tgt_text[0])) for row in rows}
    assert all(row.neg_text not in (row.qry, row.pos_text) for row in phrases.phrase_rows(pairs, 1))


@pytest.mark.parametrize(
    ("wording", "subject", "text"),
    [
        ("What {is} {x} made of?", "bottles for wine", "What are bottles for wine made of?"),
        ("What {is} {x} made of?", "glass", "What is glass made of?"),
        ("What colour {do} {x} have?", "mice", "What colour do mice have?"),
        ("{A} {x} is what?", "owl", "An owl is what?"),
        ("home of {a} {x}", "unicorn", "home of a unicorn"),
        ("{x} is what?", "the Nile", "The Nile is what?"),
    ],
)
def test_a_wording_agrees_with_its_subject(wording, subject, text):
    assert fill(wording, subject) == text


def test_plurals_and_content_words():
    assert is_plural("ripe cherries")
    assert not is_plural("the sun in children's drawings")
    assert content_words("What is the young of a sheep called?") == {"young", "sheep"}
