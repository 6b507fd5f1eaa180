"""Bounds on bodies, seen from a bare ASGI call: what is held, for how long, and what is refused."""

import asyncio
import json
from dataclasses import replace

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from service.error_handlers import http_problem
from service.metrics import Metrics
from service.middleware.body_limit import BodyLimitMiddleware, BodyLimits, BodyRefused
from service.middleware.head_limit import MAX_HEAD_BYTES, HeadLimitMiddleware
from service.problem_responses import problem_response

LIMITS = BodyLimits(one=100, backup=1000, total=250, seconds=0.05)


class Call:
    """One call of an application; its body is sent part by part."""

    def __init__(self, path="/embed", method="POST", headers=()):
        self.scope = {"type": "http", "path": path, "method": method, "headers": list(headers)}
        self.parts = asyncio.Queue()
        self.sent = []

    def send_part(self, size, more=True):
        self.parts.put_nowait({"type": "http.request", "body": b"x" * size, "more_body": more})

    async def run(self, app):
        async def send(message):
            self.sent.append(message)

        await app(self.scope, self.parts.get, send)
        return self

    @property
    def status(self):
        return self.sent[0]["status"]

    @property
    def headers(self):
        return dict(self.sent[0]["headers"])

    @property
    def kind(self):
        return json.loads(self.sent[1]["body"])["type"]


async def read_and_wait(scope, receive, send):
    """Reads the body as FastAPI does, holds it until the scope's event is set, and answers."""
    request = Request(scope, receive)
    try:
        await request.body()
        if "until" in scope:
            await scope["until"].wait()
        response = PlainTextResponse("read")
    except BodyRefused as refused:
        response = problem_response(scope["path"], http_problem(request, refused))
    await response(scope, receive, send)


@pytest.fixture
def app():
    return BodyLimitMiddleware(read_and_wait, LIMITS, Metrics())


def whole(size, **changes):
    call = Call(**changes)
    call.send_part(size, more=False)
    return call


def test_the_bytes_of_all_bodies_are_bounded_until_their_calls_end(app):
    async def run():
        until = asyncio.Event()
        held = [whole(100), whole(100)]
        tasks = []
        for call in held:
            call.scope["until"] = until
            tasks.append(asyncio.create_task(call.run(app)))
        await asyncio.sleep(0.01)
        streamed = await whole(60).run(app)
        declared = await whole(60, headers=[(b"content-length", b"60")]).run(app)
        for refused in (streamed, declared):
            assert (refused.status, refused.kind) == (429, "/problems/bodies-full")
            assert refused.headers[b"retry-after"] == b"1"
            assert refused.headers[b"connection"] == b"close"
        assert (await whole(50).run(app)).status == 200
        until.set()
        await asyncio.gather(*tasks)
        assert [call.status for call in held] == [200, 200]
        assert (await whole(60).run(app)).status == 200
        assert app._held.held == 0

    asyncio.run(run())


def test_a_call_that_breaks_off_gives_its_bytes_back(app):
    async def run():
        call = Call()
        call.send_part(80)
        task = asyncio.create_task(call.run(app))
        await asyncio.sleep(0.01)
        assert app._held.held == 80
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert app._held.held == 0
        gone = Call()
        gone.send_part(80)
        gone.parts.put_nowait({"type": "http.disconnect"})
        await asyncio.gather(gone.run(app), return_exceptions=True)
        assert app._held.held == 0

    asyncio.run(run())


def test_a_body_that_drips_is_given_up(app):
    async def run():
        call = Call()

        async def drip():
            while True:
                call.send_part(1)
                await asyncio.sleep(0.01)

        dripping = asyncio.create_task(drip())
        await call.run(app)
        dripping.cancel()
        assert (call.status, call.kind) == (408, "/problems/body-timeout")
        assert call.headers[b"connection"] == b"close"

    asyncio.run(run())


def test_a_backup_may_take_long_as_long_as_it_goes_on(app):
    async def run():
        restore = {"path": "/collections/c/backup", "method": "PUT"}
        call = Call(**restore)
        patient = BodyLimitMiddleware(read_and_wait, replace(LIMITS, seconds=2.0), Metrics())

        async def drip():
            for _ in range(5):
                call.send_part(100)
                await asyncio.sleep(0.5)
            call.send_part(1, more=False)

        await asyncio.gather(drip(), call.run(patient))
        assert call.status == 200  # 501 bytes in 2.5 s, of which the memory's bound knows nothing
        stalled = Call(**restore)
        stalled.send_part(50)
        assert (await stalled.run(app)).status == 408
        assert (await whole(1001, **restore).run(app)).status == 413

    asyncio.run(run())


def test_a_whole_body_is_not_timed_while_it_is_worked_on(app):
    async def run():
        until = asyncio.Event()
        call = whole(10)
        call.scope["until"] = until
        task = asyncio.create_task(call.run(app))
        await asyncio.sleep(3 * LIMITS.seconds)
        until.set()
        await task
        assert call.status == 200

    asyncio.run(run())


def test_a_body_over_the_limit_ends_the_connection(app):
    async def run():
        for call in (whole(101), whole(101, headers=[(b"content-length", b"101")])):
            await call.run(app)
            assert (call.status, call.kind) == (413, "/problems/body-too-large")
            assert call.headers[b"connection"] == b"close"

    asyncio.run(run())


def test_large_heads_are_refused():
    async def run():
        app = HeadLimitMiddleware(read_and_wait, Metrics())
        for large in (
            whole(1, headers=[(b"x", b"a" * MAX_HEAD_BYTES)]),
            whole(1, headers=[(b"name", b"")] * (MAX_HEAD_BYTES // 4)),
            whole(1, path="/" + "a" * MAX_HEAD_BYTES),
        ):
            await large.run(app)
            assert (large.status, large.kind) == (431, "/problems/head-too-large")
        assert (await whole(1, headers=[(b"x", b"a" * 30_000)]).run(app)).status == 200

    asyncio.run(run())
