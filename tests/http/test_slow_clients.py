"""Clients that send or read slowly, or not at all: what is kept for them has bounds, and ends."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import httpx2
import pytest

from tests.http.test_disconnect import LEAVES, Leave
from tests.http.wire import connect, make_queue, put, read_answer, receive_one, request_bytes, settle, stats
from tests.support.server import Server
from tests.support.until import wait_until

Name = Callable[..., str]

MIB = 1024 * 1024
HELD = 8 * MIB
READERS = 6


@pytest.fixture(scope="module")
def impatient(way: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A broker that looks at slow clients five times a second."""
    server = Server(tmp_path_factory.mktemp("slow") / "data", env={**way, "QUEUESVC_SLOW_CLIENT_SECONDS": "0.2"})
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture(scope="module")
def small(way: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A broker that keeps no more than 8 MiB for slow clients."""
    server = Server(tmp_path_factory.mktemp("slow") / "data", env={**way, "QUEUESVC_SLOW_CLIENT_BYTES": str(HELD)})
    try:
        yield server.start()
    finally:
        server.close()


def ask_and_not_read(server: Server, request: bytes) -> socket.socket:
    """Send this, and read the first bytes of the answer only."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(30)
    connection.connect((server.host, server.port))
    connection.sendall(request)
    assert connection.recv(100).startswith(b"HTTP/1.1 200")
    return connection


def begin_body(server: Server, queue: str, body: bytes) -> socket.socket:
    """Send all of a publish but the last byte."""
    connection = connect(server.url)
    connection.sendall(request_bytes(f"/v1/queues/{queue}/messages", body)[:-1])
    return connection


def test_one_that_reads_nothing_is_left_and_keeps_nothing(impatient: Server, name: Name) -> None:
    with httpx2.Client(base_url=impatient.url) as http:
        queue = make_queue(http, name("q"))
        put(http, queue, *["x" * 1_000_000] * 14)
        receive = request_bytes(f"/v1/queues/{queue}/receive?max_messages=14&lease_seconds=600")
        with closing(ask_and_not_read(impatient, receive)):
            wait_until(lambda: stats(http, queue)["ready"] == 14, "the end of the lease")
        assert receive_one(http, queue)["delivery_count"] == 1


def test_one_that_reads_slowly_is_not_left(impatient: Server, name: Name) -> None:
    """More than 1 KiB a second is slow, but it gets on."""
    with httpx2.Client(base_url=impatient.url) as http:
        queue = make_queue(http, name("q"))
        put(http, queue, *["x" * 1_000_000] * 14)
        with closing(
            ask_and_not_read(impatient, request_bytes(f"/v1/queues/{queue}/receive?max_messages=14"))
        ) as connection:
            got = 100
            while got < 14_000_000:
                some = connection.recv(200_000)
                assert some, got
                got += len(some)
                stats(http, queue)  # takes its time
        assert stats(http, queue)["leased"] == 14


def test_a_browser_that_reads_nothing_is_left(impatient: Server, name: Name) -> None:
    """The control plane's large answers, too."""
    with httpx2.Client(base_url=impatient.url) as http:
        queue = make_queue(http, name("q"))
        put(http, queue, *["x" * 1_000_000] * 14)
        head = b"GET /v1/queues/%b/messages HTTP/1.1\r\nHost: localhost\r\n\r\n" % queue.encode()
        with closing(ask_and_not_read(impatient, head)) as connection:
            wait_until(lambda: is_closed(impatient, connection), "the end of the connection")


def is_closed(server: Server, connection: socket.socket) -> bool:
    """Whether the broker has no such connection any more."""
    here, there = connection.getsockname()[1], server.port
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ends = {(int(line[1].split(":")[1], 16), int(line[2].split(":")[1], 16)) for line in lines if line[3] == "01"}
    return (there, here) not in ends


def test_bodies_that_come_slowly_hold_so_much_in_all(small: Server, name: Name) -> None:
    """Where it is too much, the one that takes longest is told so; those that come fast are served throughout."""
    with ExitStack() as stack, httpx2.Client(base_url=small.url) as http:
        queue = make_queue(http, name("q"))
        body = b"x" * MIB
        slow = []
        for number in range(1, 21):
            slow.append(stack.enter_context(closing(begin_body(small, queue, body))))
            assert http.post(f"/v1/queues/{queue}/messages", content=body).status_code == 201
            assert stats(http, queue)["published"] == number
        for early in slow[:12]:
            answer = read_answer(early)
            assert answer is not None
            assert answer[0] == 503
            assert json.loads(answer[1])["type"] == "urn:queuesvc:unavailable"
            assert early.recv(1) == b""
        for late in slow[13:]:
            late.sendall(b"x")
            answer = read_answer(late)
            assert answer is not None
            assert answer[0] == 201
        assert stats(http, queue)["published"] == 27


def test_small_bodies_have_room_when_large_ones_have_none(small: Server, name: Name) -> None:
    with ExitStack() as stack, httpx2.Client(base_url=small.url) as http:
        queue = make_queue(http, name("q"))
        first = stack.enter_context(closing(begin_body(small, queue, b"y" * 50_000)))
        for _ in range(20):
            stack.enter_context(closing(begin_body(small, queue, b"x" * MIB)))
        assert stats(http, queue)["published"] == 0
        first.sendall(b"y")
        answer = read_answer(first)
        assert answer is not None
        assert answer[0] == 201


def test_bodies_behind_a_wait_hold_so_much_too(small: Server, name: Name, way: dict[str, str]) -> None:
    """What is pipelined behind a long poll is not begun; where it is too much it never is."""
    with ExitStack() as stack, httpx2.Client(base_url=small.url) as http:
        queue = make_queue(http, name("q"))
        other = make_queue(http, name("other"))
        wait = request_bytes(f"/v1/queues/{queue}/receive?wait_seconds=60&auto_ack=true")
        publish = request_bytes(f"/v1/queues/{other}/messages", b"x" * MIB)
        pollers = [stack.enter_context(connect(small.url)) for _ in range(4)]
        for poller in pollers:
            poller.sendall(wait + publish * 3)
            stats(http, queue)
        wait_until(lambda: stats(http, queue)["consumers_waiting"] == 4, "the pollers")
        put(http, queue, *"abcd")
        answered = [statuses(poller) for poller in pollers]
        if not way:  # over ASGI no more than the beginning of the first is read
            assert answered[:2] == [[200, 503], [200, 503]]
        assert answered[3] == [200, 201, 201, 201]


def statuses(connection: socket.socket) -> list[int]:
    """The statuses of four answers, or of those that come before the connection is closed."""
    with connection.makefile("rb") as stream:
        found: list[int] = []
        while len(found) < 4 and (line := stream.readline()):
            found.append(int(line.split()[1]))
            length = 0
            while (header := stream.readline().strip()) != b"":
                if header.lower().startswith(b"content-length:"):
                    length = int(header.split(b":")[1])
            stream.read(length)
        return found


@pytest.mark.parametrize("how", ["receive", "browse"])
def test_answers_that_are_not_read_hold_so_much_in_all(small: Server, name: Name, how: str) -> None:
    """Where it is too much, who has held it for longest is dropped, and what was leased to it is there again."""
    with ExitStack() as stack, httpx2.Client(base_url=small.url) as http:
        queues: list[str] = []
        for number in range(READERS):
            queue = make_queue(http, name("q"))
            queues.append(queue)
            put(http, queue, *["x" * 1_000_000] * 7)
            if how == "receive":
                request = request_bytes(f"/v1/queues/{queue}/receive?max_messages=7&lease_seconds=600")
            else:
                request = b"GET /v1/queues/%b/messages HTTP/1.1\r\nHost: localhost\r\n\r\n" % queue.encode()
            connection = stack.enter_context(closing(ask_and_not_read(small, request)))
            if number == 0:
                first = connection
        wait_until(lambda: is_closed(small, first), "the end of the first connection")
        if how == "receive":
            wait_until(lambda: stats(http, queues[0])["ready"] == 7, "the end of the first lease")
            assert stats(http, queues[-1])["leased"] == 7
        # The last one reads after all, and has lost nothing.
        got = 100
        while got < 7_000_000:
            some = connection.recv(1_000_000)
            assert some, got
            got += len(some)


@LEAVES
def test_one_that_left_with_much_behind_its_wait(
    shared: httpx2.Client, shared_server: Server, leave: Leave, way: dict[str, str]
) -> None:
    """So much was pipelined behind the long poll that no more is read, and the leaving is not told."""
    queue = make_queue(shared, f"left-{leave.__name__}-{len(way)}")
    with connect(shared_server.url) as connection:
        wait = request_bytes(f"/v1/queues/{queue}/receive?wait_seconds=60&lease_seconds=600")
        connection.sendall(wait + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 40)
        wait_until(lambda: stats(shared, queue)["consumers_waiting"] == 1, "the wait")
        leave(connection)
        (id_,) = put(shared, queue, "x")
        message = receive_one(shared, queue, lease_seconds=600)
        assert (message["id"], message["delivery_count"], message["failed_count"]) == (id_, 1, 0)
        settle(shared, queue, "ack", message["receipt"])
