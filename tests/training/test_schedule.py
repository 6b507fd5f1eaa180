import pytest

from training.schedule import warmup_cosine


def test_it_warms_up_and_falls_to_a_twentieth():
    factors = [warmup_cosine(step, 10, 100) for step in range(101)]
    assert factors[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert factors[10] == pytest.approx(1.0)
    assert factors[55] == pytest.approx((1 + 0.05) / 2)
    assert factors[100] == pytest.approx(0.05)
    assert factors[10:] == sorted(factors[10:], reverse=True)


@pytest.mark.parametrize(("warmup", "steps"), [(0, 5), (1, 3), (5, 5), (9, 3)])
def test_short_runs_have_rates_too(warmup, steps):
    assert all(0 < warmup_cosine(step, warmup, steps) <= 1 for step in range(steps))
