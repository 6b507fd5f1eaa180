"""A real HTTP server that speaks the chat completions protocol, and does as a test tells it."""

import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response

GOOD = "<reasoning>Because.</reasoning>\n<answer>{}</answer>"


@dataclass
class Received:
    """One request as it came."""

    body: dict[str, Any]
    headers: dict[str, str]
    at: float

    @property
    def text(self) -> str:
        """The query's text part."""
        return self.body["messages"][-1]["content"][-1]["text"]


def completion(text: Any, finish: str = "stop") -> JSONResponse:
    """A chat completion that cost 100 prompt and 10 completion tokens."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    return JSONResponse({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage})


def failure(status: int, message: str = "no", **headers: str) -> JSONResponse:
    """An error body as OpenAI words it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return JSONResponse({"error": {"message": message, "type": "x"}}, status, headers=named)


def answering(text: str = "an answer") -> Callable[[Received, int], Response]:
    """A server that always gives this answer."""
    return lambda received, number: completion(GOOD.format(text))


@dataclass
class FakeEndpoint:
    """`respond` gets each request and its number, from 0; `most_at_once` is the concurrency seen."""

    url: str = ""
    respond: Callable[[Received, int], Response] = field(default_factory=answering)
    received: list[Received] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reset(self, respond: Callable[[Received, int], Response]) -> None:
        """Forget what came, and answer in another way."""
        self.respond, self.most_at_once = respond, 0
        self.received.clear()

    def handle(self, body: dict[str, Any], headers: dict[str, str]) -> Response:
        """Runs on a thread of the server's own for each request."""
        with self._lock:
            number, received = len(self.received), Received(body, headers, time.monotonic())
            self.received.append(received)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return self.respond(received, number)
        finally:
            with self._lock:
                self.at_once -= 1


@contextmanager
def serving():
    """A fake endpoint that listens on a free port."""
    fake, app = FakeEndpoint(), FastAPI()

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> Response:
        return await run_in_threadpool(fake.handle, await request.json(), dict(request.headers))

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    fake.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    try:
        yield fake
    finally:
        server.should_exit = True
        thread.join()
