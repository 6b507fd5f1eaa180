import numpy as np
import pytest

from training.reliability import reliability


def test_confidence_that_is_right_has_no_error():
    confidence = np.repeat([0.55, 0.75, 0.95], 100)
    right = np.concatenate([np.arange(100) < count for count in (55, 75, 95)])
    found = reliability(confidence, right)
    assert found.ece == pytest.approx(0, abs=1e-12)
    assert [one.count for one in found.bins] == [100, 100, 100]


def test_the_error_is_weighted_by_queries():
    confidence = np.array([0.95] * 9 + [0.55])
    right = np.array([False] * 9 + [True])
    found = reliability(confidence, right)
    assert found.ece == pytest.approx(0.9 * 0.95 + 0.1 * 0.45)
    assert [(one.low, one.accuracy) for one in found.bins] == [(0.5, 1.0), (0.9, 0.0)]


def test_the_ends_of_the_range_have_bins():
    found = reliability(np.array([0.0, 1.0]), np.array([True, True]))
    assert [(one.low, one.high) for one in found.bins] == [(0.0, 0.1), (0.9, 1.0)]


def test_no_queries_is_an_error():
    with pytest.raises(ValueError, match="needs queries"):
        reliability(np.zeros(0), np.zeros(0, bool))
