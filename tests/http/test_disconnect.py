"""Consumers that go away: none takes a message along (§5).

How a client leaves is part of each test: an orderly end (FIN), a broken one (RST), or an
end of its sending alone, after which it can still read. The last is how a test learns what was written to it.
"""

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial

import httpx2
import pytest

from tests.http.wire import (
    connect,
    messages_of,
    put,
    read_answer,
    receive,
    receive_one,
    request_bytes,
    settle,
    stats,
    wait_for_waiters,
)
from tests.support.server import Server

Leave = Callable[[socket.socket], None]
Ask = Callable[..., socket.socket]


def end(connection: socket.socket) -> None:
    """FIN: an orderly close."""
    connection.close()


def reset(connection: socket.socket) -> None:
    """RST: as a process that is killed with data unread, or a middlebox, ends a connection."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def half_close(connection: socket.socket) -> None:
    """FIN, while still reading."""
    connection.shutdown(socket.SHUT_WR)


LEAVES = pytest.mark.parametrize("leave", [end, reset, half_close])


@pytest.fixture
def ask(shared_server: Server, queue: str) -> Iterator[Ask]:
    """Begin a receive on a connection of its own: `ask(wait_seconds=30, lease_seconds=60)`."""
    with ExitStack() as stack:

        def begin(body: bytes = b"", **options: object) -> socket.socket:
            connection = stack.enter_context(closing(connect(shared_server.url)))
            query = "&".join(f"{key}={value}" for key, value in options.items())
            connection.sendall(request_bytes(f"/v1/queues/{queue}/receive?{query}", body))
            return connection

        yield begin


def assert_untouched(http: httpx2.Client, queue: str, *ids: str) -> None:
    """The next receives get exactly these messages, in order, each for the first time."""
    got: list[tuple[str, int, int]] = []
    while len(got) < len(ids):
        some = receive(http, queue, max_messages=1000, wait_seconds=10, lease_seconds=600)
        assert some, f"{len(ids) - len(got)} of {len(ids)} messages never came: {stats(http, queue)}"
        got += [(message["id"], message["delivery_count"], message["failed_count"]) for message in some]
    assert sorted(got) == [(id_, 1, 0) for id_ in sorted(ids)]
    found = stats(http, queue)
    assert (found["leased"], found["ready"], found["acked"]) == (len(ids), 0, 0)
    assert found["delivered"] == len(ids)


@LEAVES
def test_one_that_left_is_in_no_line(shared: httpx2.Client, queue: str, ask: Ask, leave: Leave) -> None:
    connection = ask(wait_seconds=60)
    wait_for_waiters(shared, queue, 1)
    leave(connection)
    wait_for_waiters(shared, queue, 0)
    assert_untouched(shared, queue, *put(shared, queue, "x"))


@LEAVES
def test_a_message_published_as_soon_as_it_left(shared: httpx2.Client, queue: str, ask: Ask, leave: Leave) -> None:
    # Nobody waits for the broker to notice: mostly the message is leased to the one who left, and taken back.
    for _ in range(60):
        connection = ask(wait_seconds=60, lease_seconds=600)
        wait_for_waiters(shared, queue, 1)
        leave(connection)
        (id_,) = put(shared, queue, "x")
        message = receive_one(shared, queue, lease_seconds=600)
        assert (message["id"], message["delivery_count"], message["failed_count"]) == (id_, 1, 0)
        settle(shared, queue, "ack", message["receipt"])
        wait_for_waiters(shared, queue, 0)


@LEAVES
def test_the_next_in_line_gets_it(shared: httpx2.Client, queue: str, ask: Ask, leave: Leave) -> None:
    for _ in range(20):
        first = ask(wait_seconds=60, lease_seconds=600)
        wait_for_waiters(shared, queue, 1)
        second = ask(wait_seconds=60, lease_seconds=600)
        wait_for_waiters(shared, queue, 2)
        leave(first)
        (id_,) = put(shared, queue, "x")
        (message,) = messages_of(read_answer(second))
        assert (message["id"], message["delivery_count"]) == (id_, 1)
        settle(shared, queue, "ack", message["receipt"])


def publish_and_leave(publisher: socket.socket, queue: str, microseconds: int, leave: Callable[[], None]) -> None:
    """Publish, and leave so much later, before or after it is on the disk."""
    publisher.sendall(request_bytes(f"/v1/queues/{queue}/messages", b"x"))
    leave_at = time.perf_counter_ns() + microseconds * 1000
    while time.perf_counter_ns() < leave_at:
        pass
    leave()
    answer = read_answer(publisher)
    assert answer is not None
    assert answer[0] == 201, answer


def test_leaving_and_publishing_at_the_same_moment(
    shared: httpx2.Client, shared_server: Server, queue: str, ask: Ask
) -> None:
    """Either the answer was written to the connection, or the message is there as if nothing had been."""
    written = 0
    with connect(shared_server.url) as publisher:
        for turn in range(300):
            connection = ask(wait_seconds=60, lease_seconds=600)
            wait_for_waiters(shared, queue, 1)
            publish_and_leave(publisher, queue, turn * turn // 5, partial(half_close, connection))
            answer = read_answer(connection)
            if answer is not None:
                written += 1
                (message,) = messages_of(answer)
            else:
                message = receive_one(shared, queue, lease_seconds=600)
            assert message["delivery_count"] == 1, f"turn {turn}: lost for a while, {answer=}"
            assert settle(shared, queue, "ack", message["receipt"])["acked"] == 1
    assert 0 < written < 300, "the two moments never met"
    assert stats(shared, queue)["acked"] == 300


@pytest.mark.parametrize("leave", [end, reset])
def test_whatever_the_moment_nothing_is_lost(
    shared: httpx2.Client, shared_server: Server, queue: str, ask: Ask, leave: Leave
) -> None:
    """One who closes cannot say whether the answer had come; if it had, the lease runs out like any other."""
    with connect(shared_server.url) as publisher:
        for turn in range(100):
            connection = ask(wait_seconds=60, lease_seconds=0.1)
            wait_for_waiters(shared, queue, 1)
            publish_and_leave(publisher, queue, turn * 20, partial(leave, connection))
            message = receive_one(shared, queue, lease_seconds=600)
            assert message["delivery_count"] == 1 + message["failed_count"]
            settle(shared, queue, "ack", message["receipt"])
    found = stats(shared, queue)
    assert (found["published"], found["acked"], found["ready"], found["leased"]) == (100, 100, 0, 0)


@LEAVES
def test_many_leave_at_once(shared: httpx2.Client, queue: str, ask: Ask, leave: Leave) -> None:
    connections = [ask(wait_seconds=60, lease_seconds=600, max_messages=3) for _ in range(100)]
    wait_for_waiters(shared, queue, 100)
    for connection in connections:
        leave(connection)
    ids = put(shared, queue, *map(str, range(250)))
    assert_untouched(shared, queue, *ids)


@LEAVES
def test_one_that_does_not_wait_leaves(shared: httpx2.Client, queue: str, ask: Ask, leave: Leave) -> None:
    """It may be answered before it left; if it was not, nothing is leased to it."""
    for _ in range(50):
        (id_,) = put(shared, queue, "x")
        leave(ask(lease_seconds=0.2))
        message = receive_one(shared, queue, lease_seconds=600)
        assert message["id"] == id_
        assert message["delivery_count"] == 1 + message["failed_count"]
        settle(shared, queue, "ack", message["receipt"])


@LEAVES
def test_one_that_leaves_after_its_answer_keeps_its_lease(
    shared: httpx2.Client, queue: str, ask: Ask, leave: Leave
) -> None:
    for _ in range(50):
        connection = ask(wait_seconds=60, lease_seconds=600)
        (id_,) = put(shared, queue, "x")
        (message,) = messages_of(read_answer(connection))
        leave(connection)
        assert message["id"] == id_
        assert settle(shared, queue, "ack", message["receipt"]) == {"acked": 1, "failed": []}


@LEAVES
def test_under_auto_ack_only_what_was_not_handed_out_stays(
    shared: httpx2.Client, queue: str, ask: Ask, leave: Leave
) -> None:
    connection = ask(wait_seconds=60, auto_ack="true")
    wait_for_waiters(shared, queue, 1)
    leave(connection)
    wait_for_waiters(shared, queue, 0)
    assert_untouched(shared, queue, *put(shared, queue, "x"))


@LEAVES
def test_its_acknowledgements_stand(shared: httpx2.Client, queue: str, ask: Ask, leave: Leave) -> None:
    put(shared, queue, "first")
    receipt = receive_one(shared, queue)["receipt"]
    connection = ask(b'{"ack":["%b"]}' % receipt.encode(), wait_seconds=60, lease_seconds=600)
    wait_for_waiters(shared, queue, 1)
    leave(connection)
    put(shared, queue, "second")
    message = receive_one(shared, queue)
    assert (message["body"], message["delivery_count"]) == ("second", 1)
    assert settle(shared, queue, "ack", receipt)["failed"] == [{"receipt": receipt, "code": "gone"}]
    assert stats(shared, queue)["acked"] == 1


@LEAVES
def test_one_that_asked_for_more_behind_its_wait(shared: httpx2.Client, queue: str, ask: Ask, leave: Leave) -> None:
    # Pipelined requests: it is the one that waits that has to learn of it, not only the newest.
    connection = ask(wait_seconds=60, lease_seconds=600)
    connection.sendall(request_bytes(f"/v1/queues/{queue}/ack", b'{"receipts":["x"]}'))
    wait_for_waiters(shared, queue, 1)
    leave(connection)
    wait_for_waiters(shared, queue, 0)
    assert_untouched(shared, queue, *put(shared, queue, "x"))


@pytest.mark.parametrize("leave", [end, reset])
def test_one_that_leaves_in_the_middle_of_its_answer(
    shared: httpx2.Client, shared_server: Server, queue: str, leave: Leave
) -> None:
    # More than the buffers between us can hold.
    ids = put(shared, queue, *["x" * 1_000_000] * 14)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((shared_server.host, shared_server.port))
        options = "max_messages=14&lease_seconds=600"
        connection.sendall(request_bytes(f"/v1/queues/{queue}/receive?{options}"))
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        leave(connection)
    assert_untouched(shared, queue, *ids)
