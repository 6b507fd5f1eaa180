"""Both clients behind one blocking face, so that each test says what holds for the two of them."""

import asyncio
import inspect

import httpx
import pytest

from service.client import AsyncSolomon, Solomon
from tests.service.client.fake_server import FakeServer


class Blocking:
    """`AsyncSolomon`, one event loop a call."""

    def __init__(self, make):
        self._make = make

    def __getattr__(self, name):
        def call(*arguments, **options):
            async def run():
                async with self._make() as solomon:
                    made = getattr(solomon, name)(*arguments, **options)
                    if inspect.isasyncgen(made):
                        return [part async for part in made]
                    return await made

            return asyncio.run(run())

        return call


@pytest.fixture
def fake():
    return FakeServer()


@pytest.fixture
def waits(monkeypatch):
    """The pauses that were made, none of them waited for."""
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    monkeypatch.setattr("service.client.synchronous.time.sleep", waits.append)
    monkeypatch.setattr("service.client.asynchronous.asyncio.sleep", sleep)
    return waits


@pytest.fixture(params=["sync", "async"])
def make_client(request):
    """Makes either client on a transport that answers by a function."""

    def make(answer, **options):
        transport = httpx.MockTransport(answer)
        if request.param == "sync":
            return Solomon("http://server", transport=transport, **options)
        return Blocking(lambda: AsyncSolomon("http://server", transport=transport, **options))

    return make


@pytest.fixture
def solomon(make_client, fake):
    return make_client(fake)
