"""uvicorn's HTTP/1.1 connections, bounded: uvicorn waits for a request's head, and for a reader, for ever.

What goes on above a connection (the size and time of bodies, the size of complete heads) is bounded by
`service.middleware`; here is what no middleware sees.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.metrics import CutReason, Metrics
from service.middleware.head_limit import MAX_HEAD_BYTES


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection. Its bounds are class attributes, because uvicorn makes the instances."""

    head_seconds: ClassVar[float] = 10.0  # from a request's first byte, or the connection, to its head's end
    stall_seconds: ClassVar[float] = 30.0  # without a byte taken by a client that is being answered
    max_connections: ClassVar[int] = 1000
    metrics: ClassVar[Metrics | None] = None  # counts connections, where there are any

    _head_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None
    _in_head = False
    _unparsed = 0  # bytes since the parser last made something of them

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, unless there are too many already."""
        super().connection_made(transport)
        if self.metrics is not None:
            self.metrics.on_connection(1)
        if len(self.connections) > self.max_connections:
            self._cut(CutReason.TOO_MANY)
        else:
            self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._forget_head()
        self._forget_stall()
        if self.metrics is not None:
            self.metrics.on_connection(-1)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came. Heads, trailers and chunk extensions that do not end are cut off."""
        self._unparsed += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._unparsed > MAX_HEAD_BYTES:
            self._cut(CutReason.ENDLESS_HEAD)
        elif self._in_head or self.cycle is None or self.cycle.response_complete:
            self._watch_head()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """A request's first byte."""
        self._unparsed = 0
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A request's head is there."""
        self._unparsed = 0
        self._in_head = False
        self._forget_head()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Some of a body is there."""
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The whole of a request is there."""
        self._unparsed = 0
        super().on_message_complete()

    # What the transport calls.

    def pause_writing(self) -> None:
        """The client does not take the answer as fast as it is made."""
        super().pause_writing()
        if self._stall_timer is None:
            self._watch_stall()

    def resume_writing(self) -> None:
        """It caught up."""
        self._forget_stall()
        super().resume_writing()
        self._watch_closing()

    def on_response_complete(self) -> None:
        """An answer is written, though perhaps not taken; the connection may be closing behind it."""
        super().on_response_complete()
        self._watch_closing()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing more was asked for some seconds."""
        super().timeout_keep_alive_handler()
        self._watch_closing()

    def _watch_closing(self) -> None:
        """A connection that is closed waits for its last bytes to be taken, for ever if nobody does."""
        if self.transport.is_closing() and self._stall_timer is None:
            self._watch_stall()

    def _watch_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_seconds, self._head_is_late)

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self.cycle is not None and not self.cycle.response_complete:
            self._watch_head()  # an earlier request of this connection is still being answered
        else:
            self._cut(CutReason.LATE_HEAD)

    def _watch_stall(self) -> None:
        waiting = self.transport.get_write_buffer_size()
        self._stall_timer = self.loop.call_later(self.stall_seconds, self._check_stall, waiting)

    def _check_stall(self, before: int) -> None:
        self._stall_timer = None
        if self.transport.get_write_buffer_size() < before:
            self._watch_stall()
        else:
            self._cut(CutReason.STALLED)

    def _cut(self, reason: CutReason) -> None:
        if self.metrics is not None:
            self.metrics.on_connection_cut(reason)
        self.transport.abort()

    def _forget_stall(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None


def bounded_protocol(max_connections: int, metrics: Metrics) -> type[BoundedHttpProtocol]:
    """The connections of one server, which counts them."""
    return cast(
        type[BoundedHttpProtocol],
        type(
            "ServerHttpProtocol",
            (BoundedHttpProtocol,),
            {"max_connections": max_connections, "metrics": metrics},
        ),
    )
