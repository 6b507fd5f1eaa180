"""How the engine behaves: batching, fairness, failures, cancellation, deadlines, bounds, shutdown."""

import threading
import time
from concurrent.futures import CancelledError, wait

import numpy as np
import pytest
import torch

from model.errors import DeadlineExceeded, EngineStopped, QueueFull
from model.types import EmbedOptions, InputType, Item, Route, RouteChoice
from tests.model.engine_probe import AUGMENT, EMBED, LONG, held, settle
from tests.model.tiny import load_tiny


def test_waiting_requests_share_a_pass(make_engine):
    engine, recorder = make_engine()
    with held(engine):
        futures = [engine.submit(Item(text=f"text {i}"), EMBED) for i in range(10)]
        assert engine.queue_depth == 10
    wait(futures)
    settle(engine)
    assert recorder.steps[0] == ("prefill", 10)
    assert len(recorder.admitted) == 12


def test_concurrent_callers_get_their_own_answers(make_engine):
    engine, _ = make_engine(max_decoding=3, max_parked=2, max_batch_size=5)
    kinds = [
        AUGMENT,
        EMBED,
        EmbedOptions(),
        EmbedOptions(input_type=InputType.DOCUMENT),
        EmbedOptions(max_augment_tokens=2),
    ]
    work = [(Item(text=f"text {n}"), kinds[n % len(kinds)]) for n in range(60)]
    expected = [engine.embed([item], options)[0] for item, options in work]
    results = [None] * len(work)

    def call(start):
        for index in range(start, len(work), 6):
            results[index] = engine.submit(*work[index]).result(timeout=120)

    threads = [threading.Thread(target=call, args=(start,)) for start in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result, alone in zip(results, expected, strict=True):
        np.testing.assert_allclose(result.vector, alone.vector, atol=1e-4)
        assert (result.route, result.augmentation) == (alone.route, alone.augmentation)
    assert engine._runner.cache.free_slots == 3


def test_more_augmentations_than_slots_all_finish(make_engine):
    engine, recorder = make_engine(max_decoding=2, max_parked=1)
    items = [Item(text=f"text {n}") for n in range(9)]
    with held(engine):
        futures = [engine.submit(item, EmbedOptions(augment_threshold=0.0)) for item in items]
    results = [future.result(timeout=60) for future in futures]
    assert all(result.route is Route.AUGMENT for result in results)
    for item, result in zip(items, results, strict=True):
        alone = engine.embed([item], AUGMENT)[0]
        np.testing.assert_allclose(result.vector, alone.vector, atol=1e-4)
    decodes = [size for phase, size in recorder.steps if phase == "decode"]
    assert max(decodes) == 2
    assert engine._runner.cache.free_slots == 2


def test_an_embed_does_not_wait_for_an_augmentation(make_engine):
    engine, recorder = make_engine()
    order = []
    newcomers = []

    def act(phase):
        if phase == "decode" and not newcomers:
            newcomer = engine.submit(Item(text="newcomer"), EMBED)
            newcomer.add_done_callback(lambda _: order.append(("embed", len(recorder.steps))))
            newcomers.append(newcomer)

    recorder.act = act
    answer = engine.submit(Item(text=LONG), AUGMENT)
    answer.add_done_callback(lambda _: order.append(("augment", len(recorder.steps))))
    assert answer.result(timeout=60).augment_tokens >= 4
    settle(engine)
    assert [name for name, _ in order] == ["embed", "augment"]
    # prefill, first decode step, then at once the newcomer's prefill
    assert [phase for phase, _ in recorder.steps[:4]] == ["prefill", "decode", "prefill", "decode"]
    assert order[0][1] == 3


def test_an_answer_does_not_wait_for_documents(make_engine):
    """They can bring its step no further rows, however many of them there are."""
    engine, recorder = make_engine(max_batch_size=1)
    document = EmbedOptions(input_type=InputType.DOCUMENT)
    with held(engine):
        answer = engine.submit(Item(text=LONG), AUGMENT)
        documents = [engine.submit(Item(text=f"doc {n}"), document) for n in range(60)]
    answer.result()
    made = [phase for phase, _ in recorder.steps]
    assert made.count("prefill") <= made.count("decode") + 3
    wait(documents)


def test_a_newcomer_joins_the_running_decode(make_engine):
    engine, recorder = make_engine()
    joined = []

    def act(phase):
        if phase == "decode" and not joined:
            joined.append(engine.submit(Item(text="text 8"), AUGMENT))

    recorder.act = act
    engine.submit(Item(text=LONG), AUGMENT).result(timeout=60)
    assert joined[0].result(timeout=60).route is Route.AUGMENT
    assert ("decode", 2) in recorder.steps


def test_forced_augmentations_wait_without_blocking_others(make_engine):
    engine, _ = make_engine(max_decoding=1, max_parked=4)
    order = []
    with held(engine):
        for n in range(5):
            future = engine.submit(Item(text=f"text {n}"), AUGMENT)
            future.add_done_callback(lambda _: order.append("augment"))
        last = engine.submit(Item(text="a dog"), EmbedOptions())  # routed to /embed
        last.add_done_callback(lambda _: order.append("embed"))
    assert last.result(timeout=60).route is Route.EMBED
    engine.embed([Item(text="text 9")], AUGMENT)
    assert order == ["embed"] + ["augment"] * 5


def test_parked_augmentations_do_not_starve_a_forced_one(make_engine):
    engine, recorder = make_engine(max_decoding=1, max_parked=4)
    always, order, endless = EmbedOptions(augment_threshold=0.0), [], []

    def keep_parking_full(phase):
        if len(endless) < 60:
            endless.append(engine.submit(Item(text=f"text {len(endless)}"), always))
            endless[-1].add_done_callback(lambda _: order.append("auto"))

    with held(engine):
        for _ in range(5):
            keep_parking_full("start")
    recorder.act = keep_parking_full
    forced = engine.submit(Item(text="a dog"), AUGMENT)
    forced.add_done_callback(lambda _: order.append("forced"))
    assert forced.result(timeout=60).route is Route.AUGMENT
    wait(endless, timeout=60)
    settle(engine)
    assert order.index("forced") <= 12


def test_priority_goes_first(make_engine):
    engine, _ = make_engine(max_batch_size=1)
    order = []
    with held(engine):
        for priority in (5, 0, 5, -1):
            future = engine.submit(Item(text="x"), EmbedOptions(route=RouteChoice.EMBED, priority=priority))
            future.add_done_callback(lambda _, priority=priority: order.append(priority))
    settle(engine)
    engine.embed([Item(text="x")], EmbedOptions(route=RouteChoice.EMBED, priority=9))
    assert order == [-1, 0, 5, 5]


def test_queue_full(make_engine):
    engine, _ = make_engine(max_queue=3)
    with held(engine):
        futures = [engine.submit(Item(text="x"), EMBED) for _ in range(3)]
        with pytest.raises(QueueFull) as caught:
            engine.submit(Item(text="y"), EMBED)
    assert caught.value.retry_after > 0
    assert all(future.result(timeout=60) for future in futures)
    assert len(engine.embed([Item(text=f"text {n}") for n in range(20)], EmbedOptions())) == 20


def test_cancelled_while_queued_and_while_decoding(make_engine):
    engine, recorder = make_engine(max_decoding=2)
    with held(engine):
        queued = engine.submit(Item(text="x"), EMBED)
        assert queued.cancel()
    running = []
    recorder.act = lambda phase: phase == "decode" and running[0].cancel()
    with held(engine):
        running.append(engine.submit(Item(text=LONG), AUGMENT))
    with pytest.raises(CancelledError):
        running[0].result(timeout=60)
    settle(engine)
    assert [phase for phase, _ in recorder.steps].count("decode") == 1
    assert engine._runner.cache.free_slots == 2
    assert queued.cancelled()


def test_deadlines(make_engine):
    engine, recorder = make_engine(max_decoding=2)
    late = engine.submit(Item(text="x"), EMBED, deadline=time.monotonic() - 1)
    with pytest.raises(DeadlineExceeded):
        late.result(timeout=60)
    assert recorder.steps == []

    def expire(phase):
        if phase == "decode":
            engine._decoding[0].deadline = time.monotonic() - 1

    recorder.act = expire
    running = engine.submit(Item(text=LONG), AUGMENT, deadline=time.monotonic() + 3600)
    with pytest.raises(DeadlineExceeded):
        running.result(timeout=60)
    settle(engine)
    assert [phase for phase, _ in recorder.steps].count("decode") == 1
    assert engine._runner.cache.free_slots == 2


def test_parked_requests_can_be_cancelled(make_engine):
    engine, recorder = make_engine(max_decoding=1, max_parked=3)
    recorder.act = lambda phase: phase == "prefill" and [future.cancel() for future in futures[1:]]
    always = EmbedOptions(augment_threshold=0.0)
    with held(engine):
        futures = [engine.submit(Item(text=f"text {n}"), always) for n in range(4)]
    done, _ = wait(futures, timeout=60)
    assert len(done) == 4
    assert sum(future.cancelled() for future in futures) == 3
    settle(engine)
    assert engine._runner.cache.free_slots == 1
    assert not engine._parked


@pytest.mark.parametrize("options", [EMBED, AUGMENT])
def test_a_vector_that_is_not_finite_fails_alone(make_engine, options):
    loaded = load_tiny()
    poison = loaded.tokenizer("Z")["input_ids"][0]
    with torch.no_grad():
        loaded.model.get_input_embeddings().weight[poison] = float("nan")
    engine, recorder = make_engine(loaded)
    with held(engine):
        good = [engine.submit(Item(text=f"text {n}"), options) for n in range(3)]
        bad = engine.submit(Item(text="text Z"), options)
    with pytest.raises(FloatingPointError):
        bad.result(timeout=60)
    clean, _ = make_engine()
    for n, future in enumerate(good):
        expected = clean.embed([Item(text=f"text {n}")], options)[0]
        np.testing.assert_allclose(future.result(timeout=60).vector, expected.vector, atol=1e-4)
    assert recorder.steps[0] == ("prefill", 4)
    assert engine.alive


def test_a_failing_decode_step_fails_alone(make_engine, monkeypatch):
    engine, _ = make_engine(max_decoding=4)
    runner = engine._runner
    decode = runner.decoder.decode
    victim = []

    def fails_for_the_victim(tokens, positions, slots, cache):
        hidden = decode(tokens, positions, slots, cache)  # after the cache was written
        if victim and any(request.slot in slots for request in engine._decoding if request.future in victim):
            raise RuntimeError("poisoned")
        return hidden

    monkeypatch.setattr(runner.decoder, "decode", fails_for_the_victim)
    with held(engine):
        futures = [engine.submit(Item(text=f"text {n}"), AUGMENT) for n in range(3)]
        victim.append(futures[1])
    with pytest.raises(RuntimeError, match="poisoned"):
        victim[0].result(timeout=60)
    for n in (0, 2):
        result = futures[n].result(timeout=60)
        alone = engine.embed([Item(text=f"text {n}")], AUGMENT)[0]
        np.testing.assert_allclose(result.vector, alone.vector, atol=1e-4)
        assert result.augmentation == alone.augmentation
    assert runner.cache.free_slots == 4


def test_what_fails_between_passes_fails_alone(make_engine, monkeypatch):
    engine, _ = make_engine(max_decoding=4)
    cache = engine._runner.cache
    allocate, calls = cache.allocate, []

    def out_of_memory_once(prompt):
        calls.append(prompt)
        if len(calls) == 2:
            raise MemoryError("no room for the copy")
        return allocate(prompt)

    monkeypatch.setattr(cache, "allocate", out_of_memory_once)
    with held(engine):
        futures = [engine.submit(Item(text=f"text {n}"), AUGMENT) for n in range(3)]
    wait(futures, timeout=60)
    assert [type(future.exception()) for future in futures] == [type(None), MemoryError, type(None)]
    assert engine.alive
    assert cache.free_slots == 4


def test_a_failing_observer_harms_nobody(make_engine):
    engine, recorder = make_engine()
    recorder.act = lambda phase: 1 / 0
    assert engine.embed([Item(text=LONG)], AUGMENT)[0].route is Route.AUGMENT
    assert engine.alive


def test_close_fails_what_is_left_and_refuses_more(make_engine):
    engine, recorder = make_engine()
    recorder.act = lambda phase: phase == "decode" and engine.close()
    running = engine.submit(Item(text=LONG), AUGMENT)
    with pytest.raises(EngineStopped):
        running.result(timeout=60)
    engine.close()
    assert not engine.alive
    with pytest.raises(EngineStopped):
        engine.submit(Item(text="x"), EMBED)


def test_close_fails_what_is_queued(make_engine):
    engine, _ = make_engine()
    with held(engine):
        queued = engine.submit(Item(text="x"), EMBED)
        for request in engine._scheduler.close():
            engine._fail(request, EngineStopped("closed"))
    with pytest.raises(EngineStopped):
        queued.result(timeout=60)


def test_an_exact_repetition_is_answered_from_memory_if_asked_to(make_engine):
    engine, recorder = make_engine(embedding_cache_items=2)
    first = engine.embed([Item(text=LONG)], AUGMENT)[0]
    steps = len(recorder.steps)
    again = engine.embed([Item(text=LONG)], AUGMENT)[0]
    assert len(recorder.steps) == steps
    np.testing.assert_array_equal(first.vector, again.vector)
    assert (again.augmentation, again.route, again.compute_seconds) == (first.augmentation, first.route, 0.0)
    again.vector[:] = 0  # a caller's own copy
    assert engine.embed([Item(text=LONG)], AUGMENT)[0].vector.any()
    assert engine.embed([Item(text=LONG)], EMBED)[0].route is Route.EMBED  # other options are another item
    engine.embed([Item(text="other")], EMBED)
    before = len(recorder.steps)
    engine.embed([Item(text=LONG)], AUGMENT)  # the least recently used was let go
    assert len(recorder.steps) > before
    engine.close()
    with pytest.raises(EngineStopped):
        engine.submit(Item(text="other"), EMBED)


def test_nothing_is_remembered_by_default(make_engine):
    engine, recorder = make_engine()
    for _ in range(2):
        engine.embed([Item(text="x")], EMBED)
    assert len(recorder.steps) == 2


def test_times_are_reported(make_engine):
    engine, _ = make_engine()
    augmented, embedded = (engine.embed([Item(text="x")], options)[0] for options in (AUGMENT, EMBED))
    assert augmented.queue_seconds >= 0
    assert 0 < augmented.augment_seconds < augmented.compute_seconds
    assert embedded.compute_seconds > 0 == embedded.augment_seconds
