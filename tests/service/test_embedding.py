"""What becomes of items whose request is given up while they are being prepared."""

import asyncio
import math
import threading
import time

import pytest

from model.engine import Engine, EngineSettings
from model.types import EmbedOptions
from service.embedding import EmbeddingService, RequestItem
from service.images import ImageResolver
from service.metrics import Metrics


@pytest.fixture
def engine(loaded_model):
    engine = Engine(loaded_model, EngineSettings(threads=1, dtype="float32"))
    yield engine
    engine.close()


def test_an_item_that_is_submitted_after_its_request_was_given_up_is_cancelled(engine, monkeypatch):
    entered, released, submitted = threading.Event(), threading.Event(), []
    submit = engine.submit

    def late(*arguments):
        entered.set()
        assert released.wait(60)
        submitted.append(submit(*arguments))
        return submitted[-1]

    monkeypatch.setattr(engine, "submit", late)
    # The engine's thread does not start on what it is given, so that only cancelling can end it.
    monkeypatch.setattr(engine._scheduler, "next_batch", lambda room: [])
    service = EmbeddingService(engine, ImageResolver(None, 1), Metrics(), max_queue=4)

    async def give_up():
        items = [RequestItem("input", text="x")]
        task = asyncio.create_task(service.embed(items, EmbedOptions(), time.monotonic() + 600))
        await asyncio.to_thread(entered.wait, 60)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        released.set()
        deadline = time.monotonic() + 60
        while not (submitted and submitted[0].done() and engine.queue_depth == 0):
            assert time.monotonic() < deadline, "the item waits for nobody"
            await asyncio.sleep(0.01)

    asyncio.run(give_up())
    assert submitted[0].cancelled()
    with service.admit(4, EmbedOptions(), math.inf):  # all places are free again
        pass
