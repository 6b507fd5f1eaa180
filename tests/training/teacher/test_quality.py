import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.teacher.quality import contains, copies, measure_quality, words

WORDS = st.lists(st.sampled_from(["red", "blue", "house", "old", "river", "Paris"]), min_size=1, max_size=8)


def test_figures_of_a_small_set():
    queries = ["capital of France?", "colour of the sky?", "who wrote Faust?", "largest ocean?"]
    answers = ["Paris", "It is blue, by day.", "", "the Atlantic"]
    found = measure_quality(queries, answers, ["paris.", "Blue", "Goethe", "the Pacific"])
    assert (found.rows, found.answered, found.parsed) == (4, 3, 0.75)
    assert (found.words_mean, found.words_median, found.words_longest) == (2.67, 2.0, 5)
    assert (found.compared, found.exact, found.containing) == (3, 0.3333, 0.6667)
    assert found.copying == 0.0


def test_nothing_to_measure_is_not_zero():
    found = measure_quality(["a"], [""], ["b"])
    assert found.parsed == 0.0
    assert found.exact is found.containing is found.copying is found.words_mean is None
    assert measure_quality([], [], []).rows == 0


@pytest.mark.parametrize(
    ("answer", "query", "copied"),
    [
        ("What is it?", "what is it", True),
        ("red", "Is it red or blue?", False),
        ("You ask: name the capital of France", "Name the capital of France.", True),
        ("capital of France, the capital", "Name the capital of France.", True),
        ("a dog that runs along the beach", "an animal by the sea", False),
    ],
)
def test_copies(answer, query, copied):
    assert copies(answer, query) is copied


def test_truths_are_compared_by_words():
    assert words("The  Mona Lisa!") == ["mona", "lisa"]
    assert contains("It is the Mona Lisa, in Paris", "Mona Lisa")
    assert not contains("Paris", "The Paris of the East")
    assert not contains("Parisian", "Paris")
    assert not contains("anything", "")


@settings(deadline=None)
@given(WORDS, WORDS, WORDS)
def test_a_part_is_contained_and_a_query_copies_itself(before, part, after):
    assert contains(" ".join(before + part + after), " ".join(part))
    assert copies(" ".join(part), " ".join(part))


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12), st.text(max_size=12)), max_size=6))
def test_shares_are_shares_and_agree_with_each_other(rows):
    found = measure_quality(*([row[i] for row in rows] for i in range(3)))
    for share in (found.parsed, found.exact, found.containing, found.copying):
        assert share is None or 0 <= share <= 1
    assert found.compared <= found.answered <= found.rows
