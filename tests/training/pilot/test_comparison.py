"""The paired bootstrap against distributions whose truth is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.types import Route
from tests.training.fake_embedder import FakeEmbedder, hashed
from training.mmeb import EvaluationRow
from training.pilot.comparison import compare, forced_hits, paired_gain

RESAMPLES = 600
BITS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


def columns(pairs):
    """Two arrays of hits out of pairs."""
    return tuple(np.array([float(pair[side]) for pair in pairs]) for side in (0, 1))


def drawn(random, size, both, only_first, only_second):
    """Paired hits, with these shares of the queries that both, only NoAug and only AlwaysAug answer."""
    kinds = random.choice(4, size, p=[both, only_first, only_second, 1 - both - only_first - only_second])
    return np.isin(kinds, (0, 1)).astype(float), np.isin(kinds, (0, 2)).astype(float)


def test_the_interval_holds_the_true_gain_about_as_often_as_it_says():
    random = np.random.default_rng(0)
    held = 0
    for trial in range(300):
        first, second = drawn(random, 150, both=0.5, only_first=0.08, only_second=0.2)
        gain = paired_gain([first], [second], RESAMPLES, seed=trial)
        held += gain.low <= 0.12 <= gain.high
    assert 0.91 <= held / 300 <= 0.985  # 95 %, within three standard errors and a percentile's bias


def test_the_interval_of_a_mean_over_unequal_datasets_holds_the_truth_too():
    random = np.random.default_rng(1)
    held = 0
    for trial in range(200):
        large = drawn(random, 400, both=0.6, only_first=0.1, only_second=0.1)
        small = drawn(random, 60, both=0.2, only_first=0.1, only_second=0.4)
        gain = paired_gain([large[0], small[0]], [large[1], small[1]], RESAMPLES, seed=trial)
        held += gain.low <= 0.15 <= gain.high  # the mean of 0 and 0.3, whatever the sizes
    assert 0.89 <= held / 200 <= 0.99


def test_pairing_narrows_the_interval_of_models_that_agree():
    first, second = drawn(np.random.default_rng(2), 500, both=0.6, only_first=0.01, only_second=0.05)
    paired = paired_gain([first], [second], RESAMPLES)
    shuffled = np.random.default_rng(3).permutation(second)
    unpaired = paired_gain([first], [shuffled], RESAMPLES)
    assert unpaired.mean == pytest.approx(paired.mean)
    assert paired.high - paired.low < 0.5 * (unpaired.high - unpaired.low)
    assert paired.low > 0 > unpaired.low  # the same P@1s, and only the pairs tell them apart


@settings(max_examples=40, deadline=None)
@given(BITS, st.integers(0, 9))
def test_the_interval_surrounds_the_mean_and_turns_with_the_sign(pairs, seed):
    first, second = columns(pairs)
    gain, back = paired_gain([first], [second], 300, seed), paired_gain([second], [first], 300, seed)
    assert gain.mean == pytest.approx(second.mean() - first.mean())
    assert -1 <= gain.low <= gain.mean + 1e-9
    assert gain.mean - 1e-9 <= gain.high <= 1
    assert back.mean == pytest.approx(-gain.mean)
    assert gain == paired_gain([first], [second], 300, seed)


@settings(max_examples=40, deadline=None)
@given(BITS)
def test_equal_outcomes_gain_nothing_for_certain(pairs):
    first, _ = columns(pairs)
    gain = paired_gain([first], [first], 300)
    assert (gain.mean, gain.low, gain.high) == (0, 0, 0)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 50), st.integers(2, 9))
def test_more_of_the_same_queries_narrow_the_interval(size, times):
    random = np.random.default_rng(size)
    first, second = drawn(random, 40, both=0.4, only_first=0.2, only_second=0.2)
    few, many = (
        paired_gain([np.tile(first, n)], [np.tile(second, n)], RESAMPLES, seed=4) for n in (1, times)
    )
    assert many.high - many.low < few.high - few.low


def test_other_queries_or_datasets_cannot_be_paired():
    with pytest.raises(ValueError, match="same queries"):
        paired_gain([np.zeros(3)], [np.zeros(4)], RESAMPLES)
    with pytest.raises(ValueError, match="same queries"):
        paired_gain([np.zeros(3)], [], RESAMPLES)
    with pytest.raises(ValueError, match=r"different datasets.*b"):
        compare({"a": np.zeros(3)}, {"a": np.zeros(3), "b": np.zeros(3)}, RESAMPLES)


def test_the_mean_counts_every_dataset_the_same():
    no_aug = {"large": np.ones(90), "small": np.zeros(10)}
    always_aug = {"large": np.ones(90), "small": np.ones(10)}
    compared, mean = compare(no_aug, always_aug, RESAMPLES)
    assert [(one.dataset, one.queries, one.gain.mean) for one in compared] == [
        ("large", 90, 0.0),
        ("small", 10, 1.0),
    ]
    assert (mean.no_aug, mean.always_aug, mean.gain.mean, mean.queries) == (0.5, 1.0, 0.5, 100)


def test_hits_are_of_the_forced_route(tmp_path):
    rows = {"cities": [EvaluationRow(f"q{n}", "", ["yes", "no"], ["", ""]) for n in range(3)]}
    vectors = {("document", "yes"): hashed("yes"), ("document", "no"): hashed("no")}
    for number, (plain, augmented) in enumerate((("yes", "no"), ("no", "yes"), ("yes", "yes"))):
        vectors["embed", f"q{number}"] = hashed(plain)
        vectors["augment", f"q{number}"] = hashed(augmented)
    engine = FakeEmbedder(vectors)
    assert forced_hits(engine, Route.EMBED, rows, tmp_path)["cities"].tolist() == [1, 0, 1]
    assert forced_hits(engine, Route.AUGMENT, rows, tmp_path)["cities"].tolist() == [0, 1, 1]
