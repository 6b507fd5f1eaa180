import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.calibration import best_threshold

QUERIES = st.lists(
    st.tuples(st.floats(0, 1) | st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.booleans()),
    min_size=2,
    max_size=20,
).filter(lambda queries: len({wanted for _, wanted in queries}) == 2)


def right_routes(queries, threshold):
    return sum((probability >= threshold) == wanted for probability, wanted in queries)


@given(QUERIES)
def test_no_threshold_routes_more_queries_right(queries):
    found = best_threshold(*zip(*queries, strict=True))
    assert 0 <= found <= 1
    candidates = [0.0, 1.0, *(probability for probability, _ in queries)]
    assert right_routes(queries, found) == max(right_routes(queries, one) for one in candidates)


def test_the_widest_gap_is_split_in_the_middle():
    assert best_threshold([0.1, 0.2, 0.8, 0.9], [False, False, True, True]) == pytest.approx(0.5)


def test_equal_probabilities_are_not_told_apart():
    queries = [(0.5, False), (0.5, True), (0.5, True), (0.9, False)]
    found = best_threshold(*zip(*queries, strict=True))
    assert right_routes(queries, found) == 2


@pytest.mark.parametrize("wanted", [[True, True], [False, False]])
def test_both_kinds_of_query_are_needed(wanted):
    with pytest.raises(ValueError, match="queries of both kinds"):
        best_threshold([0.1, 0.9], wanted)
