"""The arithmetic of latencies, on a clock that only the engine moves."""

import pytest

from model.types import Item, RouteChoice
from tests.training.report.made_up import Clockwork
from training.latency import BATCHED, SINGLE, LatencySettings, measure_latency, spread
from training.latency_record import recorded_latency

ITEMS = [Item(str(number)) for number in range(12)]


def measured(augment_every=3, **settings):
    engine = Clockwork(augment_every)
    chosen = LatencySettings(**{"queries": 12, "repetitions": 3, "warm_up": 1, "batch_size": 5, **settings})
    heard = []
    return measure_latency(engine, ITEMS, 0.5, chosen, heard.append, engine.clock), engine, heard


def test_seconds_and_ratios():
    latency, _, heard = measured()
    assert [one.shape for one in latency] == [SINGLE, BATCHED]
    for one in latency:
        seconds = {route: estimate.mean for route, estimate in one.seconds.items()}
        assert seconds == {
            route: pytest.approx(t) for route, t in (("embed", 0.1), ("augment", 0.4), ("auto", 0.2))
        }
        assert one.adaptive_to_always.mean == pytest.approx(0.5)
        assert one.augmented_share == pytest.approx(1 / 3)
        assert one.extra_share.mean == pytest.approx(1 / 3)
        assert one.overhead.mean == pytest.approx(1)
    assert sum(heard) == len(ITEMS) * 3 * 3 * 2


def test_warm_up_is_not_timed_and_routes_take_turns():
    _, engine, _ = measured(repetitions=2)
    singles = [route for route, size in engine.calls if size == 1]
    assert singles[:3] == [RouteChoice.AUTO, RouteChoice.EMBED, RouteChoice.AUGMENT]
    timed = singles[3 : 3 + 2 * 3 * 12]
    order = [timed[start] for start in range(0, len(timed), 12)]
    assert order == ["auto", "embed", "augment", "embed", "augment", "auto"]


def test_without_extra_time_there_is_no_share_of_it():
    class Even(Clockwork):
        def embed(self, items, options):
            before = self.now
            answers = super().embed(items, options)
            self.now = before + 0.1 * len(items)
            return answers

    engine = Even()
    latency = measure_latency(engine, ITEMS, 0.5, LatencySettings(12, 2), clock=engine.clock)
    assert latency[0].extra_share is None
    assert latency[0].overhead is None


def test_items_are_taken_from_every_dataset_in_turn():
    datasets = [[Item("a1"), Item("a2"), Item("a3")], [Item("b1")], [Item("c1"), Item("c2")]]
    assert [item.text for item in spread(datasets, 5)] == ["a1", "b1", "c1", "a2", "c2"]
    assert len(spread(datasets, 50)) == 6


def test_settings_and_items_are_checked():
    with pytest.raises(ValueError, match="repetitions must be at least 1"):
        LatencySettings(repetitions=0)
    with pytest.raises(ValueError, match="no queries to measure"):
        measure_latency(Clockwork(), [], 0.5, LatencySettings())


def test_a_record_is_measured_once_for_each_key(tmp_path):
    times = []

    def measure():
        times.append(1)
        return measured()[0]

    first = recorded_latency(tmp_path, {"queries": 1}, "then", measure)
    again = recorded_latency(tmp_path, {"queries": 1}, "later", measure)
    assert again == first
    assert again.measured_at == "then"
    assert recorded_latency(tmp_path, {"queries": 2}, "later", measure).measured_at == "later"
    assert len(times) == 2
    for file in tmp_path.glob("latency-*.json"):
        file.write_text("{")
    assert recorded_latency(tmp_path, {"queries": 1}, "last", measure).measured_at == "last"
