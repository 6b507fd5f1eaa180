"""When a decode step of few rows waits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from model.engine.deferral import FEW, MOST_DEFERRED, StepDeferral


def test_a_turn_that_can_bring_no_row_decodes():
    assert not StepDeferral().defers(1, joins=False)


def test_a_step_of_many_rows_never_waits():
    assert not StepDeferral().defers(FEW + 1, joins=True)


@given(st.lists(st.tuples(st.integers(1, 20), st.booleans()), max_size=60))
def test_no_step_waits_longer_than_it_may(turns):
    deferral, waited = StepDeferral(), 0
    for rows, joins in turns:
        waited = waited + 1 if deferral.defers(rows, joins) else 0
        assert waited <= MOST_DEFERRED


def test_a_step_waits_again_after_one_was_made():
    deferral = StepDeferral()
    made = [not deferral.defers(1, joins=True) for _ in range(2 * (MOST_DEFERRED + 1))]
    assert made == 2 * [*[False] * MOST_DEFERRED, True]
