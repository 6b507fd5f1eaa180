"""What a model wrote is kept where it helps retrieval, and only there."""

import pytest

from tests.training.fake_embedder import FakeEmbedder, hashed
from tests.training.tiny_data import ANSWERS, text_rows
from training.mmeb import TrainingRow
from training.teacher.self_teacher import SelfSettings, SelfTeacher
from training.teacher.truth import GroundTruthTeacher, bare_answer

ROWS = text_rows()


def silent(count):
    return None


@pytest.fixture
def vectors():
    """Documents apart from each other; every plain query near a wrong document."""
    found = {("document", answer): hashed("city", answer) for answer in ANSWERS}
    for row in ROWS:
        found["embed", row.qry] = hashed("city", row.neg_text)
    return found


def test_an_answer_that_helps_is_kept_and_others_say_what_they_did(vectors, tmp_path):
    helped, worse, mute = ROWS[0], ROWS[1], ROWS[2]
    vectors["augment", helped.qry] = hashed("city", helped.pos_text)
    vectors["embed", worse.qry] = hashed("city", worse.pos_text)
    vectors["augment", worse.qry] = hashed("city", worse.neg_text)
    vectors["augment", mute.qry] = hashed("city", mute.pos_text)
    engine = FakeEmbedder(vectors, {helped.qry: "Rome", mute.qry: ""})
    done = []
    teacher = SelfTeacher(engine, None, tmp_path, SelfSettings(candidates=8))
    answers = teacher.answer("cities", ROWS, done.append)
    assert (answers[0].text, answers[0].problem) == ("Rome", "")
    assert answers[1].text == ""
    assert "no help: rank 1 to" in answers[1].problem
    assert answers[2].problem == "the model wrote nothing"
    assert sum(done) == len(ROWS) == teacher.cost.queries
    assert teacher.facts["writer"] == teacher.facts["judge"] == "fake"


def test_at_equal_rank_the_margin_decides(vectors, tmp_path):
    row = ROWS[0]
    own, other = hashed("city", row.pos_text), hashed("city", row.neg_text)
    vectors["embed", row.qry] = (0.8 * own + 0.2 * other) / ((0.8 * own + 0.2 * other) ** 2).sum() ** 0.5
    vectors["augment", row.qry] = own
    engine = FakeEmbedder(vectors)

    def kept(min_gain):
        teacher = SelfTeacher(engine, None, tmp_path, SelfSettings(min_gain, candidates=2))
        return bool(teacher.answer("cities", [row], silent)[0].text)

    assert kept(0.0)
    assert not kept(1.5)  # more than the margin can grow by


def test_a_judge_sees_the_answer_as_the_querys_second_line(vectors, tmp_path):
    row, other = ROWS[0], ROWS[1]
    writer = FakeEmbedder(answers={row.qry: "Rome", other.qry: "no idea"})
    vectors["embed", f"{row.qry}\nRome"] = hashed("city", row.pos_text)
    vectors["embed", f"{other.qry}\nno idea"] = vectors["embed", other.qry]
    judge = FakeEmbedder(vectors)
    teacher = SelfTeacher(writer, judge, tmp_path, SelfSettings(candidates=8))
    helped, same = teacher.answer("cities", [row, other], silent)
    assert helped.text == "Rome"
    assert "margin +0.000" in same.problem
    assert {side for side, _ in writer.seen} == {"augment"}
    assert {side for side, _ in judge.seen} == {"embed", "document"}


def test_a_row_whose_image_is_missing_is_named_and_no_candidate(vectors, tmp_path):
    broken = TrainingRow("What is it?", "gone.png", pos_text="only here")
    engine = FakeEmbedder(vectors)
    teacher = SelfTeacher(engine, None, tmp_path, SelfSettings(candidates=99))
    done = []
    answers = teacher.answer("cities", [*ROWS[:4], broken, *ROWS[4:]], done.append)
    assert "gone.png is not in" in answers[4].problem
    assert "only here" not in {text for _, text in engine.seen}
    assert sum(done) == len(answers) == len(ROWS) + 1


def test_ground_truth_is_the_rows_own_answer_or_a_positive_that_is_one():
    rows = [
        TrainingRow("a", pos_text="It is Rome.", augmentation="Rome"),
        TrainingRow("b", pos_text="Oslo"),
        TrainingRow("c", pos_text="a picture", pos_image_path="c.png"),
    ]
    assert [a.text for a in GroundTruthTeacher(["cities"]).answer("cities", rows, silent)] == [
        "Rome",
        "Oslo",
        "",
    ]
    own = GroundTruthTeacher([]).answer("cities", rows, silent)
    assert [answer.text for answer in own] == ["Rome", "", ""]
    assert own[1].problem == "the data has no answer"


def test_what_is_seen_before_an_answer_is_not_compared():
    seen = TrainingRow(qry="What is its young called?", pos_text="joey", augmentation="kangaroo: joey")
    assert bare_answer(seen, False) == "joey"
    worded = TrainingRow(qry="q", pos_text="It is Paris.", augmentation="Paris")
    assert bare_answer(worded, False) == "Paris"
    assert bare_answer(TrainingRow(qry="q", pos_text="cat"), True) == "cat"
    assert bare_answer(TrainingRow(qry="q", pos_text="cat"), False) == ""
