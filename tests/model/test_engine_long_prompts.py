"""Prompts over the budget of a step: in parts, in turn, and without holding up others."""

from concurrent.futures import CancelledError, wait

import numpy as np
import pytest

from model.types import EmbedOptions, InputType, Item, Route
from tests.model.engine_probe import AUGMENT, EMBED, held, settle

LONG_PROMPT = "many words " * 12  # more than a hundred tokens of the tiny model


@pytest.mark.parametrize("options", [AUGMENT, EMBED, EmbedOptions(input_type=InputType.DOCUMENT)])
def test_a_long_prompt_in_parts_equals_one_pass(make_engine, options):
    whole, _ = make_engine()
    engine, recorder = make_engine(max_batch_tokens=32)
    [expected], [result] = (one.embed([Item(text=LONG_PROMPT)], options) for one in (whole, engine))
    np.testing.assert_allclose(result.vector, expected.vector, atol=1e-4)
    assert (result.route, result.augmentation) == (expected.route, expected.augmentation)
    assert result.confidence == pytest.approx(expected.confidence, abs=1e-4)
    parts = [size for phase, size in recorder.steps if phase == "prefill"]
    assert len(parts) == -(-(result.prompt_tokens + 2 * (result.route is not None)) // 32)


def test_a_query_passes_between_the_parts_of_a_long_prompt(make_engine):
    engine, recorder = make_engine(max_batch_tokens=32)
    order, newcomers = [], []

    def act(phase):
        if not newcomers:
            newcomers.append(engine.submit(Item(text="x"), EMBED))
            newcomers[0].add_done_callback(lambda _: order.append("newcomer"))

    recorder.act = act
    long = engine.submit(Item(text=LONG_PROMPT), EMBED)
    long.add_done_callback(lambda _: order.append("long"))
    wait([long], timeout=60)
    settle(engine)
    assert order == ["newcomer", "long"]


def test_long_prompts_take_turns_and_find_slots(make_engine):
    engine, _ = make_engine(max_batch_tokens=32, max_decoding=1, max_parked=1)
    with held(engine):
        futures = [engine.submit(Item(text=f"{n} {LONG_PROMPT}"), AUGMENT) for n in range(4)]
        futures += [
            engine.submit(Item(text=f"text {n}"), EmbedOptions(augment_threshold=0.0)) for n in range(4)
        ]
    results = [future.result(timeout=60) for future in futures]
    assert all(result.route is Route.AUGMENT for result in results)
    assert engine._runner.cache.free_slots == 1
    assert engine._long is None


def test_a_long_prompt_that_fails_or_is_cancelled_lets_the_next_one_in(make_engine, monkeypatch):
    engine, recorder = make_engine(max_batch_tokens=32)
    running = []
    recorder.act = lambda phase: running and running[0].cancel()
    with held(engine):
        running.append(engine.submit(Item(text=LONG_PROMPT), EMBED))
    with pytest.raises(CancelledError):
        running[0].result(timeout=60)
    recorder.act = None
    extend, calls = engine._runner.decoder.extend, []

    def fails_once(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise RuntimeError("no memory for this part")
        return extend(*arguments)

    monkeypatch.setattr(engine._runner.decoder, "extend", fails_once)
    with pytest.raises(RuntimeError, match="no memory"):
        engine.embed([Item(text=LONG_PROMPT)], EMBED)
    assert engine.embed([Item(text=LONG_PROMPT)], EMBED)[0].route is Route.EMBED
    assert engine.alive
