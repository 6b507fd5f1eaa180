"""The hold on writes that a rebuild has, told again in time, and what ends it."""

import threading

import pytest

from index.types import CollectionHeld, StoreUnreachable
from service.write_hold import WriteHold


class Store:
    """Notes what it is told; `failure` is raised instead."""

    def __init__(self):
        self.told = []
        self.failure = None
        self.renewed = threading.Event()

    def hold_writes(self, name, seconds, holder):
        if self.failure is not None:
            raise self.failure
        self.told.append((name, seconds, holder))
        if len(self.told) > 3:
            self.renewed.set()


def test_it_is_told_again_while_a_batch_takes_long_and_given_up_at_the_end():
    store = Store()
    with WriteHold(store, "things", seconds=0.5) as hold:
        assert store.renewed.wait(30)
        hold.check()
    assert {(name, holder) for name, _, holder in store.told} == {("things", store.told[0][2])}
    assert [seconds for _, seconds, _ in store.told[:-1]] == [0.5] * (len(store.told) - 1)
    assert store.told[-1][1] == 0


def test_holders_differ():
    first, second = Store(), Store()
    with WriteHold(first, "things"), WriteHold(second, "things"):
        pass
    assert first.told[0][2] != second.told[0][2]


def test_a_hold_that_lapsed_ends_the_work():
    store = Store()
    with WriteHold(store, "things", seconds=0.1) as hold:
        store.failure = StoreUnreachable("gone")
        hold._thread.join(30)
        with pytest.raises(CollectionHeld, match="Begin the rebuild again"):
            hold.check()


def test_another_holder_ends_the_work_and_keeps_its_hold():
    store = Store()
    with WriteHold(store, "things", seconds=0.5) as hold:
        store.failure = CollectionHeld("another's")
        hold._thread.join(30)
        with pytest.raises(CollectionHeld, match="another's"):
            hold.check()
    assert 0 not in [seconds for _, seconds, _ in store.told]


def test_who_finds_it_held_does_not_begin():
    store = Store()
    store.failure = CollectionHeld("another's")
    with pytest.raises(CollectionHeld), WriteHold(store, "things"):
        pytest.fail("it began")
