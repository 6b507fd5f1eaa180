"""Every scenario of benchmarks/faults in its short form: a real server with the tiny model.

What needs minutes to show (growth of memory, what a long overload does) is measured by the long form,
`python -m benchmarks.faults`; here each scenario runs once through, and what it promises at any length is
checked, but for targets of time.
"""

from __future__ import annotations

import pytest

from benchmarks.faults import breaking, clients, fuzzing, overload, soak
from benchmarks.faults.target import serving

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def target():
    """One server for all scenarios, in the order below: each leaves it as it should be."""
    settings = {**clients.BAD_CLIENTS_SETTINGS, **clients.FLOOD_SETTINGS, **overload.SETTINGS}
    with serving(True, SOLOMON_FAULTS_PATIENCE="2", **settings) as target:
        yield target


def check(report):
    assert not report.missed, (report.missed, report.figures)
    return report.figures


def test_bad_clients_disturb_no_others_and_leave_nothing_open(target):
    assert check(clients.bad_clients(target, rounds=1))["bad_clients"] == len(clients.KINDS)


def test_a_flood_of_bodies_is_bounded(target):
    check(clients.flood_of_bodies(target, clients=6))


def test_overload_is_refused_and_forgotten(target):
    assert check(overload.overload(target, seconds=3))["statuses"]["429"] > 0


def test_the_wall_clock_does_not_matter(target):
    check(breaking.skewed_clock(target, jumps=2))


def test_an_even_load_leaves_nothing_behind(target):
    # In seconds a server is still warming up; the long form holds memory to 2 %.
    check(soak.soak(target, seconds=4, growth_percent=50))


def test_no_call_that_the_openapi_document_allows_or_forbids_ends_in_5xx(target):
    assert check(fuzzing.fuzz(target, examples=2))["calls"] > 25


def test_a_full_disk_refuses_writes_and_nothing_else(target):
    check(breaking.full_disk(target))


def test_a_dead_engine_is_told_and_a_restart_mends_it(target):
    check(breaking.dead_engine(target))


def test_a_corrupt_checkpoint_is_refused():
    check(breaking.corrupt_checkpoint(["flipped", "manifest"]))
