"""Connections of clients that send without end, too slowly, or do not read; on real sockets."""

import asyncio
import contextlib
import socket
import threading
import time

import pytest
import uvicorn

from service.http_protocol import BoundedHttpProtocol
from service.metrics import Metrics
from service.middleware.head_limit import MAX_HEAD_BYTES

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"
PATIENCE = 60  # how long a test waits for what should take fractions of a second


class Hasty(BoundedHttpProtocol):
    head_seconds = 1.0
    stall_seconds = 1.0
    max_connections = 8


async def answer(scope, receive, send):
    """Answers at once, without reading a body; /large with more than a socket takes."""
    size = 2**25 if scope["path"] == "/large" else 2
    headers = [(b"content-length", str(size).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"x" * size})


@contextlib.contextmanager
def listening(app, protocol=Hasty):
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=protocol, ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield server, listener.getsockname()
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def served():
    with listening(answer) as both:
        yield both


@pytest.fixture
def connect(served):
    with contextlib.ExitStack() as stack:

        def make():
            made = stack.enter_context(socket.create_connection(served[1], timeout=PATIENCE))
            return made

        yield make


def ends(connection):
    """Read until the server ends the connection; what it sent until then."""
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
    except ConnectionError:
        pass
    return received


def answered(connection):
    """Read one whole answer of `answer`."""
    received = b""
    while not received.endswith(b"xx"):
        part = connection.recv(65536)
        assert part, "the connection ended"
        received += part
    return received.startswith(b"HTTP/1.1 200")


def send_for_ever(connection, part, pause=0.0):
    """Send until the server ends the connection; how many bytes that took."""
    sent, given_up = 0, time.monotonic() + PATIENCE
    with contextlib.suppress(ConnectionError):
        while time.monotonic() < given_up:
            connection.sendall(part)
            sent += len(part)
            time.sleep(pause)
        raise AssertionError("the server takes everything")
    return sent


def idle(server):
    given_up = time.monotonic() + PATIENCE
    while server.server_state.connections:
        assert time.monotonic() < given_up, "connections are left"
        time.sleep(0.01)
    return True


def test_an_honest_client_is_answered_again_and_again(connect):
    connection = connect()
    for _ in range(3):
        connection.sendall(HEAD + b"\r\n")
        assert answered(connection)


def test_a_client_that_says_nothing_is_let_go(connect):
    assert ends(connect()) == b""


def test_a_head_that_drips_is_let_go(connect):
    connection = connect()
    connection.sendall(HEAD)
    assert send_for_ever(connection, b"a", pause=0.02) < 1000


def test_a_second_head_that_drips_is_let_go(connect):
    connection = connect()
    connection.sendall(HEAD + b"\r\n")
    assert answered(connection)
    assert send_for_ever(connection, b"\r\n", pause=0.02) < 1000


@pytest.mark.parametrize(
    ("begin", "part"),
    [
        (HEAD, b"a" * 4096),
        (HEAD, b"name: value\r\n" * 300),
        (b"GET /", b"a" * 4096),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"name: value\r\n" * 300),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a" * 4096),
    ],
    ids=["one header", "many headers", "address", "trailers", "chunk extension"],
)
def test_what_does_not_end_is_cut_off(connect, begin, part):
    connection = connect()
    connection.sendall(begin)
    time.sleep(0.05)
    # Beyond the limit go what one read takes and what both sockets buffer.
    assert send_for_ever(connection, part) < MAX_HEAD_BYTES + 16 * 2**20


def test_a_body_that_goes_on_after_the_answer_is_let_go(connect):
    connection = connect()
    connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
    assert answered(connection)
    assert send_for_ever(connection, b"a", pause=0.02) < 1000


def test_a_client_that_does_not_read_is_let_go(served, connect):
    connection = connect()
    connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    connection.recv(1, socket.MSG_PEEK)  # the answer has begun: a server not yet asked is idle too
    assert idle(served[0])
    assert len(ends(connection)) < 2**25


@pytest.mark.parametrize("header", [b"", b"Connection: close\r\n"])
def test_a_last_answer_that_nobody_takes_is_let_go(served, connect, header):
    connection = connect()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n")
    assert idle(served[0])


def test_a_slow_reader_is_not():
    size, seconds = 2**25, 5.0

    class Patient(Hasty):
        stall_seconds = 3.0  # less than the whole takes

    with listening(answer, Patient) as (_, address), socket.create_connection(address) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        began, received = time.monotonic(), 0
        while part := connection.recv(2**20):
            received += len(part)
            time.sleep(max(0.0, began + seconds * received / size - time.monotonic()))
    assert received > size


def test_half_closed_and_vanishing_clients_leave_nothing_behind(served, connect):
    connect().sendall(HEAD)
    half = connect()
    half.sendall(HEAD + b"\r\n")
    half.shutdown(socket.SHUT_WR)
    assert ends(half)[:12] in (b"", b"HTTP/1.1 200")  # it counts as gone; its answer may come before that
    for sent in (b"", HEAD, HEAD + b"\r\n", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nab"):
        gone = connect()
        gone.sendall(sent)
        gone.close()
    assert idle(served[0])


def test_too_many_connections_are_turned_away(served, connect):
    assert idle(served[0])
    crowd = [connect() for _ in range(Hasty.max_connections + 4)]
    assert [ends(connection) for connection in crowd] == [b""] * len(crowd)
    connection = connect()
    connection.sendall(HEAD + b"\r\n")
    assert answered(connection)


def test_a_request_that_takes_long_is_not_cut_off():
    async def slow(scope, receive, send):
        await asyncio.sleep(3 * Hasty.head_seconds)
        await answer(scope, receive, send)

    with listening(slow) as (_, address), socket.create_connection(address, timeout=PATIENCE) as connection:
        connection.sendall(HEAD + b"\r\n" + HEAD)  # and a part of the next head, which waits its turn
        assert answered(connection)


@pytest.mark.parametrize(
    ("reason", "sent", "part"),
    [
        ("late-head", HEAD, None),
        ("endless-head", HEAD, b"a" * 4096),
        ("stalled", b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n", None),
        ("too-many", None, None),
    ],
)
def test_connections_are_counted_and_why_they_were_cut_off(reason, sent, part):
    counting = Metrics()

    class Counted(Hasty):
        metrics = counting

    def sample(name, **labels):
        return counting.registry.get_sample_value(name, labels)

    with listening(answer, Counted) as (server, address), contextlib.ExitStack() as opened:

        def connect():
            return opened.enter_context(socket.create_connection(address, timeout=PATIENCE))

        before = sample("solomon_connections_cut_total", reason=reason)
        assert before == sample("solomon_connections") == 0
        if sent is None:
            for connection in [connect() for _ in range(Hasty.max_connections + 4)]:
                ends(connection)
        else:
            connection = connect()
            connection.sendall(sent)
            if part is not None:
                send_for_ever(connection, part)
            elif reason == "stalled":
                connection.recv(1, socket.MSG_PEEK)
            else:
                ends(connection)
        assert idle(server)
        assert sample("solomon_connections_cut_total", reason=reason) >= 1
        assert sample("solomon_connections") == 0
