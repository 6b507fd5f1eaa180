import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.intervals import dataset_mean, seed_mean, wilson


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilsons_interval_holds_the_share_and_stays_between_0_and_1(counts):
    found = wilson(*counts)
    assert 0 <= found.low <= found.mean <= found.high <= 1
    assert found.low < found.high


def test_wilsons_interval_as_in_the_literature():
    # Newcombe 1998, Statistics in Medicine 17, table I: 81 of 263 and 0 of 20.
    found = wilson(81, 263)
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)
    nothing = wilson(0, 20)
    assert (nothing.low, round(nothing.high, 4)) == (0, 0.1611)


def test_every_dataset_counts_the_same():
    assert dataset_mean([np.ones(10), np.zeros(1000)]).mean == 0.5


def test_the_bootstrap_covers_the_truth_about_95_times_in_100():
    random = np.random.default_rng(1)
    covered = 0
    for trial in range(300):
        found = dataset_mean(
            [random.binomial(1, share, 80).astype(float) for share in (0.3, 0.7)], 500, trial
        )
        covered += found.low <= 0.5 <= found.high
    assert 0.9 <= covered / 300 <= 0.98


def test_pairing_narrows_the_interval_of_a_difference():
    random = np.random.default_rng(2)
    first = random.binomial(1, 0.5, 400).astype(float)
    second = np.where(random.random(400) < 0.05, 1 - first, first)  # it agrees on all but a few
    paired = dataset_mean([first - second])
    unpaired = dataset_mean([first - random.permutation(second)])
    assert paired.high - paired.low < 0.5 * (unpaired.high - unpaired.low)


def test_a_bootstrap_over_equal_values_has_no_width_and_repeats():
    found = dataset_mean([np.full(5, 0.25)])
    assert (found.low, found.mean, found.high) == (0.25, 0.25, 0.25)
    values = [np.arange(7.0)]
    assert dataset_mean(values) == dataset_mean(values)


def test_the_interval_over_seeds_is_students():
    found = seed_mean([1.0, 2.0, 3.0])
    assert found.mean == 2
    assert found.high - 2 == pytest.approx(4.3027 / 3**0.5)
    assert seed_mean([0.5]).low is None


def test_more_seeds_than_the_table_has_still_give_an_interval():
    found = seed_mean([float(n % 2) for n in range(100)])
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.5025 / 10, rel=1e-3)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: wilson(0, 0),
        lambda: dataset_mean([]),
        lambda: dataset_mean([np.zeros(0)]),
        lambda: seed_mean([]),
    ],
)
def test_nothing_to_average_is_an_error(wrong):
    with pytest.raises(ValueError, match="needs at least one"):
        wrong()
