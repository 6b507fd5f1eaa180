"""Every scenario of benchmarks/faults in its short form: a real server with the tiny model.

What needs minutes to show (growth of memory, what a long overload does) is measured by the long form,
`python -m benchmarks.faults`; here each scenario runs once through, and all that it promises at any length
is checked.
"""

from __future__ import annotations

import pytest

from benchmarks.faults import breaking, clients, fuzzing, overload, soak

pytestmark = pytest.mark.faults


def check(report):
    assert not report.missed, (report.missed, report.figures)
    return report.figures


def test_no_call_that_the_openapi_document_allows_or_forbids_ends_in_5xx():
    assert check(fuzzing.fuzz(tiny=True, examples=2))["calls"] > 50


def test_bad_clients_disturb_no_others_and_leave_nothing_open():
    assert check(clients.bad_clients(tiny=True, rounds=1))["bad_clients"] == len(clients.KINDS)


def test_a_flood_of_bodies_is_bounded():
    check(clients.flood_of_bodies(tiny=True, clients=6))


def test_overload_is_refused_and_forgotten():
    assert check(overload.overload(tiny=True, seconds=4))["offered_to_served"] > 1


def test_a_dead_engine_is_told_and_a_restart_mends_it():
    check(breaking.dead_engine(tiny=True))


def test_a_full_disk_refuses_writes_and_nothing_else():
    check(breaking.full_disk(tiny=True))


def test_a_corrupt_checkpoint_is_refused():
    check(breaking.corrupt_checkpoint())


def test_the_wall_clock_does_not_matter():
    check(breaking.skewed_clock(tiny=True, jumps=2))


def test_an_even_load_leaves_nothing_behind():
    # In seconds a server is still warming up; the long form holds memory to 2 %.
    check(soak.soak(tiny=True, seconds=5, growth_percent=50))
