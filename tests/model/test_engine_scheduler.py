import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.engine.request import Request
from model.engine.scheduler import BACKGROUND_SECONDS, Room, Scheduler
from model.engine.settings import EngineSettings
from model.engine.vision_cache import VisionCache
from model.errors import EngineStopped
from model.types import InputType, RouteChoice

PLENTY = Room(slots=100, parking=100)


def request(length=10, choice=RouteChoice.AUTO, input_type=InputType.QUERY, priority=0, deadline=None):
    return Request(
        ids=[1] * length,
        image=None,
        image_span=None,
        input_type=input_type,
        choice=choice,
        threshold=0.5,
        max_augment_tokens=4,
        priority=priority,
        deadline=deadline,
        submitted=0.0,
    )


REQUESTS = st.lists(
    st.builds(
        request,
        length=st.integers(1, 300),
        choice=st.sampled_from(list(RouteChoice)),
        input_type=st.sampled_from(list(InputType)),
        priority=st.integers(-2, 2),
    ),
    max_size=40,
)


def filled(requests, clock=lambda: 0.0, **settings):
    """A scheduler with these requests; by its clock none of them has waited yet."""
    scheduler = Scheduler(EngineSettings(**settings), clock)
    for waiting in requests:
        scheduler.submit(waiting)
    return scheduler


@given(requests=REQUESTS, slots=st.integers(0, 4), parking=st.integers(0, 4), pads=st.booleans())
def test_every_batch_keeps_its_bounds(requests, slots, parking, pads):
    scheduler = filled(requests, max_batch_tokens=512, max_batch_size=7)
    batch = scheduler.next_batch(Room(slots, parking, pads=pads))
    lengths = [chosen.prefill_length for chosen in batch]
    assert lengths == sorted(lengths)
    assert len(batch) <= 7
    assert len(batch) <= 1 or (max(lengths) * len(lengths) if pads else sum(lengths)) <= 512
    augmenting = [chosen for chosen in batch if chosen.may_augment]
    assert len(augmenting) <= slots + parking
    assert sum(chosen.choice is RouteChoice.AUGMENT for chosen in augmenting) <= slots
    assert scheduler.depth + len(batch) == len(requests)


def test_without_padding_lengths_do_not_matter():
    lengths = [400, *[5] * 12]
    padded, packed = (
        filled(map(request, lengths), max_batch_tokens=512).next_batch(Room(100, 100, pads=pads))
        for pads in (True, False)
    )
    assert (len(padded), len(packed)) == (1, 13)


@given(requests=REQUESTS)
def test_a_query_never_shares_its_prefill_with_what_is_less_urgent(requests):
    scheduler = filled(requests, max_batch_tokens=512, max_background_tokens=128)
    while batch := scheduler.next_batch(PLENTY):
        assert len({served.priority for served in batch}) == 1
        if batch[0].priority > 0 and len(batch) > 1:
            assert max(served.prefill_length for served in batch) * len(batch) <= 128


@given(requests=REQUESTS)
def test_everything_is_served_once_and_the_most_urgent_always_next(requests):
    scheduler = filled(requests, max_batch_tokens=512, max_batch_size=7)
    waiting = sorted(requests, key=lambda entry: entry.priority)
    while waiting:
        batch = scheduler.next_batch(PLENTY)
        assert waiting[0] in batch
        for served in batch:
            waiting.remove(served)
    assert scheduler.next_batch(PLENTY) == []


def test_a_stream_of_queries_does_not_starve_documents():
    now = 0.0
    documents = [request(priority=1) for _ in range(40)]
    scheduler = filled(documents, clock=lambda: now, max_batch_size=8)
    served = []
    for step in range(100):
        now = step / 10
        for _ in range(10):  # more than a batch takes, so that there is always a query first
            query = request()
            query.submitted = now
            scheduler.submit(query)
        batch = scheduler.next_batch(PLENTY)
        assert len({entry.priority for entry in batch}) == 1
        if batch[0].priority:
            served.append((now, len(batch)))
    assert served == [(1.0, 8), (2.1, 8), (3.2, 8), (4.3, 8), (5.4, 8)]  # a second after each one's end


@pytest.mark.parametrize("seconds", [0.25, 0.9, 1.1, 5.0])
def test_documents_do_not_starve_queries_however_long_their_batches_take(seconds):
    now = 0.0
    documents = [request(priority=1) for _ in range(200)]
    scheduler = filled(documents, clock=lambda: now, max_batch_size=2)
    now = 10.0
    in_a_row = 0
    for _ in range(50):
        query = request()
        query.submitted = now
        scheduler.submit(query)
        batch = scheduler.next_batch(PLENTY)
        in_a_row = in_a_row + 1 if batch[0].priority else 0
        assert in_a_row <= 1
        now += seconds if batch[0].priority else 0.1


def test_documents_that_have_only_just_come_wait_behind_queries():
    now = 100.0
    late = request(priority=1)
    late.submitted = now - BACKGROUND_SECONDS / 2
    query = request()
    scheduler = filled([late, query], clock=lambda: now, max_batch_size=1)
    assert scheduler.next_batch(PLENTY) == [query]


def test_an_outlier_in_length_gets_its_own_batch():
    long = request(300)
    short = [request(10) for _ in range(6)]
    scheduler = filled([short[0], long, *short[1:]])
    assert scheduler.next_batch(PLENTY) == short
    assert scheduler.next_batch(PLENTY) == [long]


def test_a_prompt_above_the_budget_comes_alone_and_one_at_a_time():
    first, second, short = request(600), request(600), request(10)
    scheduler = filled([first, second, short], max_batch_tokens=512)
    assert scheduler.next_batch(PLENTY) == [first]
    assert scheduler.next_batch(Room(100, 100, long=False)) == [short]
    assert scheduler.next_batch(Room(100, 100, long=False)) == []
    assert scheduler.next_batch(PLENTY) == [second]


def test_what_runs_behind_others_has_a_budget_of_its_own():
    document = request(300, input_type=InputType.DOCUMENT, priority=1)
    scheduler = filled([document, request(300)], max_batch_tokens=512, max_background_tokens=256)
    assert len(scheduler.next_batch(Room(100, 100, long=False))) == 1
    assert scheduler.next_batch(Room(100, 100, long=False)) == []
    assert scheduler.next_batch(PLENTY) == [document]


def test_without_room_only_what_needs_no_slot_runs():
    document = request(input_type=InputType.DOCUMENT)
    forced_embed = request(choice=RouteChoice.EMBED)
    scheduler = filled([request(), request(choice=RouteChoice.AUGMENT), document, forced_embed])
    assert set(map(id, scheduler.next_batch(Room(0, 0)))) == {id(document), id(forced_embed)}
    assert scheduler.depth == 2


def test_slots_are_left_for_the_forced_that_came_before():
    parked = request()
    parked.submitted = 5.0
    earlier, later, urgent = (request(choice=RouteChoice.AUGMENT, priority=p) for p in (0, 0, -1))
    later.submitted = urgent.submitted = 6.0
    others = [request(), request(choice=RouteChoice.AUGMENT, input_type=InputType.DOCUMENT)]
    assert filled([later, *others]).forced_before(parked) == 0
    assert filled([later, earlier, urgent, *others]).forced_before(parked) == 2


def test_dead_requests_leave_the_queue():
    now = [100.0]
    scheduler = Scheduler(EngineSettings(), clock=lambda: now[0])
    fresh, late, cancelled = request(deadline=200.0), request(deadline=150.0), request()
    for waiting in (fresh, late, cancelled):
        scheduler.submit(waiting)
    assert scheduler.drop_dead() == []
    cancelled.future.cancel()
    now[0] = 150.0
    assert scheduler.drop_dead() == [late, cancelled]
    assert scheduler.next_batch(PLENTY) == [fresh]


def test_retry_after_follows_the_pace_of_admissions():
    now = [0.0]
    scheduler = Scheduler(EngineSettings(max_queue=20, max_batch_size=10), clock=lambda: now[0])
    for _ in range(20):
        scheduler.submit(request())
    scheduler.next_batch(PLENTY)  # ten in a second
    now[0] = 1.0
    for _ in range(10):
        scheduler.submit(request())
    assert scheduler._retry_after() == pytest.approx(2.0)


def test_retry_after_is_not_told_by_the_idle_time_between_bursts():
    now = [0.0]
    scheduler = Scheduler(EngineSettings(max_queue=20, max_batch_size=1), clock=lambda: now[0])
    scheduler.submit(request())
    scheduler.next_batch(PLENTY)
    now[0] = 3600.0
    for _ in range(8):
        waiting = request()
        waiting.submitted = now[0]
        scheduler.submit(waiting)
    for _ in range(4):
        scheduler.next_batch(PLENTY)
    now[0] += 2.0
    assert scheduler._retry_after() == pytest.approx(4 / 2.0)


AUTO, EMBED, AUGMENT = RouteChoice.AUTO, RouteChoice.EMBED, RouteChoice.AUGMENT


def backlog(choices, leaving, pace):
    """A scheduler at 100 s whose queue began to form at 90 s: these, before whom `leaving` went singly."""
    now = [90.0]
    scheduler = Scheduler(EngineSettings(max_queue=400, max_batch_size=1), clock=lambda: now[0])
    for choice in [*leaving, *choices]:
        waiting = request(choice=choice)
        waiting.submitted = now[0]
        scheduler.submit(waiting)
    for _ in leaving:
        now[0] += 1 / pace
        assert scheduler.next_batch(PLENTY)
    now[0] = 100.0
    return scheduler


def test_the_wait_is_what_stands_ahead_at_the_pace_of_the_queue():
    scheduler = backlog([EMBED] * 30, leaving=[EMBED] * 20, pace=2.0)
    assert scheduler.expected_seconds(0, EMBED) == pytest.approx(15.0)
    assert scheduler.expected_seconds(-1, EMBED) == 0.0  # before all others
    assert scheduler.expected_seconds(10, None) == 0.0  # none of its priority waits


def test_queries_that_are_not_augmented_pass_those_that_wait_for_a_slot():
    scheduler = backlog([AUGMENT] * 20, leaving=[AUGMENT] * 10, pace=1.0)
    assert scheduler.expected_seconds(0, AUGMENT) == pytest.approx(20.0)
    assert scheduler.expected_seconds(0, AUTO) == scheduler.expected_seconds(0, EMBED) == 0.0
    mixed = backlog([AUTO] * 8 + [EMBED] * 2, leaving=[AUTO] * 5 + [EMBED] * 5, pace=1.0)
    assert mixed.expected_seconds(0, AUTO) == pytest.approx(10.0)
    assert mixed.expected_seconds(0, EMBED) == mixed.expected_seconds(0, None) == pytest.approx(4.0)


def test_computing_is_expected_to_take_what_it_took_those_of_the_same_choice():
    scheduler = backlog([AUGMENT, EMBED] * 10, leaving=[AUGMENT, EMBED] * 5, pace=1.0)
    waits = {choice: scheduler.expected_seconds(0, choice) for choice in (AUGMENT, EMBED)}
    for _ in range(50):
        scheduler.ended(request(choice=AUGMENT), 9.0)
        scheduler.ended(request(choice=EMBED), 1.0)
    assert scheduler.expected_seconds(0, AUGMENT) == pytest.approx(waits[AUGMENT] + 9.0)
    assert scheduler.expected_seconds(0, EMBED) == pytest.approx(waits[EMBED] + 1.0)
    assert scheduler.expected_seconds(-1, AUGMENT) == 0.0


def test_one_call_of_many_items_is_no_sign_of_a_slow_queue():
    """It came at once, and little of it has left: of the pace nothing is known but what is waited already."""
    now = [90.0]
    scheduler = Scheduler(EngineSettings(max_queue=400, max_batch_size=3), clock=lambda: now[0])
    for _ in range(256):
        waiting = request(choice=EMBED)
        waiting.submitted = now[0]
        scheduler.submit(waiting)
    assert scheduler.next_batch(PLENTY)
    now[0] += 0.5
    assert scheduler.expected_seconds(0, EMBED) == pytest.approx(0.5)


def test_nobody_waits_longer_than_those_ahead_will():
    scheduler = backlog([EMBED] * 30, leaving=[EMBED] * 10, pace=1.0)
    for waiting in scheduler._queue:
        waiting.deadline = 107.0
    assert scheduler.expected_seconds(0, EMBED) == pytest.approx(7.0)


def test_closed():
    scheduler = filled([request()])
    assert scheduler.wait(busy=False)
    assert len(scheduler.close()) == 1
    assert not scheduler.wait(busy=True)
    with pytest.raises(EngineStopped):
        scheduler.submit(request())


@pytest.mark.parametrize(
    "bad",
    [
        {"max_queue": 0},
        {"max_parked": -1},
        {"max_batch_tokens": 15},
        {"max_background_tokens": 0},
        {"embedding_cache_items": -1},
        {"decoder": "vllm"},
        {"threads": 0},
        {"dtype": "int8"},
    ],
)
def test_settings_name_what_is_wrong(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        EngineSettings(**bad)


def test_vision_cache_forgets_the_least_recently_used():
    cache = VisionCache(max_items=2, max_bytes=1000)
    cache.put("a", torch.zeros(10))
    cache.put("b", torch.zeros(10))
    assert cache.get("a") is not None
    cache.put("c", torch.zeros(10))
    assert (cache.get("b"), len(cache)) == (None, 2)
    cache.put("d", torch.zeros(240))  # 960 bytes: leaves room for one more of 40
    assert len(cache) == 2
    cache.put("e", torch.zeros(20))
    assert (cache.get("d"), len(cache)) == (None, 1)
