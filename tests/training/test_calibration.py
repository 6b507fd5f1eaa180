import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.types import Route, RouteChoice
from training.calibration import (
    Rule,
    best_threshold,
    calibrate,
    oracle_precision,
    quality_threshold,
    sweep,
)
from training.scores import Outcomes, score_outcomes

PROBABILITIES = st.floats(0, 1) | st.sampled_from([0.0, 0.25, 0.5, 1.0])
QUERIES = st.lists(st.tuples(PROBABILITIES, st.booleans()), min_size=2, max_size=20).filter(
    lambda queries: len({wanted for _, wanted in queries}) == 2
)
# Query by query: P(/augment), whether each route finds the target, tokens, the label.
DATASET = st.lists(
    st.tuples(PROBABILITIES, st.booleans(), st.booleans(), st.integers(0, 9), st.booleans()),
    min_size=1,
    max_size=12,
)
DATASETS = st.lists(DATASET, min_size=1, max_size=3)


def right_routes(queries, threshold):
    return sum((probability >= threshold) == wanted for probability, wanted in queries)


def outcomes(queries, name="made up"):
    probability, embedded, augmented, tokens, wanted = map(np.array, zip(*queries, strict=True))
    return Outcomes(
        dataset=name,
        candidates=np.full(len(queries), 5),
        wanted=wanted,
        probability=probability.astype(float),
        margins={Route.EMBED: embedded - 0.5, Route.AUGMENT: augmented - 0.5},
        tokens=tokens,
    )


def score(datasets, threshold):
    """Means over the datasets of P@1, share augmented and tokens at a threshold, each scored anew."""
    scores = [score_outcomes(one, RouteChoice.AUTO, threshold) for one in datasets]
    figures = [(one.precision_at_1, 1 - one.embed_share, one.augment_tokens) for one in scores]
    return tuple(np.mean(figures, axis=0))


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


@settings(deadline=None)
@given(DATASETS, st.sampled_from([0.0, 0.01, 0.3]))
def test_no_threshold_has_a_better_precision_less_its_price(datasets, price):
    made = [outcomes(queries) for queries in datasets]

    def worth(threshold):
        precision, augmented, _ = score(made, threshold)
        return precision - price * augmented

    candidates = [0.0, 1.0, *(query[0] for queries in datasets for query in queries)]
    best = max(worth(threshold) for threshold in candidates)
    assert worth(quality_threshold(made, price)) == pytest.approx(best, abs=1e-8)


def test_a_price_above_any_gain_augments_nothing():
    made = [outcomes([(0.2, False, True, 3, True), (0.9, False, True, 3, True)])]
    assert score(made, quality_threshold(made, 0.0))[1] > 0
    assert score(made, quality_threshold(made, 2.0))[1] == 0
    with pytest.raises(ValueError, match="must not be negative"):
        quality_threshold(made, -0.1)


@settings(deadline=None)
@given(DATASETS, st.floats(0, 1))
def test_the_curve_is_what_scoring_at_each_threshold_gives(datasets, anywhere):
    made = [outcomes(queries) for queries in datasets]
    curve = sweep(made)
    assert (np.diff(curve.thresholds) > 0).all()
    for threshold in (anywhere, *curve.thresholds):
        point = curve.at(threshold)
        found = curve.precision[point], curve.augmented[point], curve.tokens[point]
        assert found == pytest.approx(score(made, threshold), abs=1e-9)
    assert (curve.augmented[0], curve.augmented[-1]) == (pytest.approx(1), 0)
    assert oracle_precision(made) >= curve.precision.max() - 1e-9


def test_calibration_keeps_both_rules_and_takes_the_one_asked_for():
    made = [
        outcomes([(0.1, True, False, 1, False), (0.6, True, False, 1, True), (0.9, False, True, 1, True)])
    ]
    routes, quality = calibrate(made), calibrate(made, Rule.QUALITY, 0.05)
    assert routes.threshold == routes.by_routes == pytest.approx(0.35)
    assert quality.threshold == quality.by_quality == pytest.approx(0.75)
    assert (quality.by_routes, quality.price, quality.queries) == (routes.by_routes, 0.05, 3)
