"""Several requests on one connection: in order, each its own answer, and none begun for one who does not read."""

import json
import os
import signal
import socket

import httpx2
import pytest

from tests.http.test_connection import Answers, read_answer, talk
from tests.http.wire import connect, make_queue, put, request_bytes, stats, wait_for_waiters
from tests.support.server import Server

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def statuses(answers: Answers) -> list[int]:
    """What each was answered with."""
    return [status for status, _, _ in answers]


def test_both_ways_are_answered_in_order(shared_server: Server, queue: str) -> None:
    """Plain requests and others mixed, one of which waits."""
    publish = request_bytes(f"/v1/queues/{queue}/messages", b"first")
    wait = request_bytes(f"/v1/queues/{queue}/receive?wait_seconds=0.2")
    chunked = request_bytes(f"/v1/queues/{queue}/messages", b"4\r\nlast\r\n0\r\n\r\n", {"Transfer-Encoding": "chunked"})
    chunked = chunked.replace(b"Content-Length: 14\r\n", b"")
    taken = request_bytes(f"/v1/queues/{queue}/receive?auto_ack=true")
    answers = talk(shared_server, wait + publish + HEALTH + taken + chunked + HEALTH + taken + wait, until=8)
    assert statuses(answers) == [200, 201, 200, 200, 201, 200, 200, 200]
    first_wait, first, last, last_wait = (json.loads(answers[at][2])["messages"] for at in (0, 3, 6, 7))
    assert first_wait == last_wait == []
    assert [message["body"] for message in first + last] == ["first", "last"]


@pytest.mark.parametrize(
    "broken",
    [
        b"hello\r\n\r\n",
        b"POST /v1/queues/q/messages HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["in the head", "in the body"],
)
def test_what_is_no_request_waits_for_the_answers_before_it(shared_server: Server, queue: str, broken: bytes) -> None:
    wait = request_bytes(f"/v1/queues/{queue}/receive?wait_seconds=0.2")
    answers = talk(shared_server, wait + HEALTH * 20 + broken + HEALTH, until=23)
    assert statuses(answers) == [200] * 21 + [400]
    assert json.loads(answers[0][2]) == {"messages": []}


def test_a_thousand_refusals_at_once(shared_server: Server, queue: str) -> None:
    """Each is begun when the one before is answered, and that one is answered at once."""
    refused = request_bytes(f"/v1/queues/{queue}/messages?colour=red", b"x")
    assert statuses(talk(shared_server, refused * 3000, until=3000)) == [422] * 3000


def test_a_body_that_comes_byte_by_byte(shared_server: Server, shared: httpx2.Client, queue: str) -> None:
    request = request_bytes(f"/v1/queues/{queue}/messages?priority=0", b"hello")
    [(status, _, _)] = talk(shared_server, *(request[at : at + 1] for at in range(len(request))))
    assert status == 201
    [message] = shared.post(f"/v1/queues/{queue}/receive").json()["messages"]
    assert message["body"] == "hello"


@pytest.mark.parametrize(
    ("request_", "status", "closed"),
    [
        (b"POST /v1/queues/%b/messages HTTP/1.0\r\nContent-Length: 1\r\n\r\nx", 201, True),
        (
            b"POST /v1/queues/%b/messages HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Content-Length: 1\r\n\r\nx",
            201,
            True,
        ),
        (
            b"POST /v1/queues/%b/messages HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n"
            b"Content-Length: 1\r\n\r\nx",
            201,
            False,
        ),
        (b"POST http://[::1]/v1/queues/%b/messages HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 1\r\n\r\nx", 201, False),
        (b"POST /v1/queues/%b/message%%73 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx", 201, False),
        (b"POST /v1/queues/%b/messages#x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx", 201, False),
        (b"POST /v1/queues/%b/messages HTTP/1.1\r\nHost: localhost\r\n\r\n", 201, False),
        (b"POST /v1/queues/%b/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048577\r\n\r\n", 413, False),
        (b"HEAD /v1/queues/%b/messages HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 200, True),
    ],
    ids=["1.0", "close", "keep-alive", "absolute", "encoded", "fragment", "no body", "too large", "head"],
)
def test_what_is_not_plain_is_served_as_well(
    shared_server: Server, queue: str, request_: bytes, status: int, closed: bool
) -> None:
    with socket.create_connection((shared_server.host, shared_server.port), timeout=20) as wire:
        wire.sendall(request_ % queue.encode())
        with wire.makefile("rb") as stream:
            if request_.startswith(b"HEAD"):
                head = stream.read()
                assert head.endswith(b"\r\n\r\n")
                assert head.split()[1] == b"200"
                return
            answer = read_answer(stream)
            assert answer is not None
            assert answer[0] == status
            if closed:
                assert answer[1]["connection"] == "close"
                assert stream.read() == b""
            else:
                assert "connection" not in answer[1]


def test_one_that_does_not_read_is_leased_nothing_more(
    shared: httpx2.Client, shared_server: Server, queue: str
) -> None:
    """The buffers between us hold some answers; the rest of what it asked for is left to others."""
    total = 400
    for _ in range(total // 10):
        put(shared, queue, *["x" * 100_000] * 10)
    receive = request_bytes(f"/v1/queues/{queue}/receive?lease_seconds=600")
    with connect(shared_server.url) as lazy:
        lazy.sendall(receive * total)
        seen: list[int] = [-1]
        while len(seen) < 100 or len(set(seen[-100:])) > 1:
            seen.append(stats(shared, queue)["leased"])
        assert 0 < seen[-1] < total // 2
        # And when it reads, it gets all of them.
        with lazy.makefile("rb") as stream:
            answers = [read_answer(stream) for _ in range(total)]
    assert [len(json.loads(answer[2])["messages"]) for answer in answers if answer] == [1] * total


def test_shutdown_ends_the_wait_and_what_is_pipelined_behind_it(server: Server, http: httpx2.Client) -> None:
    make_queue(http, "q")
    with connect(server.url) as poller, poller.makefile("rb") as stream:
        wait = request_bytes("/v1/queues/q/receive?wait_seconds=60")
        poller.sendall(wait + request_bytes("/v1/queues/q/messages", b"late"))
        wait_for_waiters(http, "q", 1)
        os.kill(server.pid, signal.SIGTERM)
        answers = [read_answer(stream), read_answer(stream)]
        assert [answer and answer[0] for answer in answers] == [200, 503]
        assert stream.read() == b""
    assert server.wait() == 0
