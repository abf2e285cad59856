"""A corpus of malformed HTTP (`malformed.py`): what could be understood in two ways is refused, on either way."""

import json
import socket

import h11
import httpx2
import pytest

from tests.http.malformed import LOOSER, PATH, REFUSED, TAKEN, chunked
from tests.http.test_connection import Answers, talk
from tests.http.wire import connect, receive, stats
from tests.support.server import Server

SMUGGLED = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\nsmuggled" % PATH


def at(queue: str, request: bytes) -> bytes:
    """The same request to a queue of the test's own."""
    return request.replace(b"/v1/queues/q/", b"/v1/queues/%b/" % queue.encode())


@pytest.mark.parametrize("kind", REFUSED)
def test_is_refused_and_nothing_behind_it_is_done(
    shared_server: Server, shared: httpx2.Client, queue: str, kind: str
) -> None:
    request = at(queue, REFUSED[kind])
    answers = talk(shared_server, request + at(queue, SMUGGLED), until=3)
    assert [status for status, _, _ in answers] == [400], answers
    [(_, headers, body)] = answers
    assert headers["connection"] == "close"
    assert json.loads(body)["type"] == "urn:queuesvc:malformed-request"
    assert stats(shared, queue)["published"] == 0


@pytest.mark.parametrize("kind", TAKEN)
def test_is_taken(shared_server: Server, queue: str, kind: str) -> None:
    request, status = TAKEN[kind]
    answers = talk(shared_server, at(queue, request))
    assert [status for status, _, _ in answers] == [status]


@pytest.mark.parametrize("kind", LOOSER)
def test_means_one_thing_only(shared_server: Server, shared: httpx2.Client, queue: str, kind: str) -> None:
    [(status, _, _)] = talk(shared_server, at(queue, LOOSER[kind]))
    assert status == 201
    [message] = receive(shared, queue)
    assert message["body"] in ("hello", "")


def verdict_of_h11(request: bytes) -> bool:
    """Whether h11 takes it for a whole request."""
    server = h11.Connection(h11.SERVER)
    try:
        server.receive_data(request)
        while True:
            match server.next_event():
                case h11.EndOfMessage():
                    return True
                case h11.NEED_DATA | h11.PAUSED | h11.ConnectionClosed():
                    return False
    except h11.RemoteProtocolError:
        return False


def test_no_looser_than_h11() -> None:
    """What h11 refuses is refused here too, but for what is listed with its reason."""
    assert [kind for kind, (request, _) in TAKEN.items() if not verdict_of_h11(request)] == []
    assert [kind for kind, request in LOOSER.items() if verdict_of_h11(request)] == []


@pytest.mark.parametrize(
    "trailer",
    [b"Message-Header-A: smuggled", b"Idempotency-Key: smuggled", b"Host: smuggled", b"X-Request-Id: smuggled"],
)
def test_trailers_are_no_headers(shared_server: Server, shared: httpx2.Client, queue: str, trailer: bytes) -> None:
    """The parser tells of them alike, and they used to be added to the head's while the call read them."""
    request = at(queue, chunked(b"5\r\nhello\r\n0\r\n%b\r\n\r\n" % trailer))
    split = request.index(b"0\r\n" + trailer)
    for answers in (talk(shared_server, request), talk(shared_server, request[:split], request[split:])):
        [(status, headers, _)] = answers
        assert (status, headers["x-request-id"] == "smuggled") == (201, False)
    first, second = receive(shared, queue, max_messages=2)
    assert first["headers"] == second["headers"] == {}
    assert first["id"] != second["id"]


ENDLESS = {
    "extensions": b"5;" + b"a" * 1024,
    "sizes": b"0" * 1024,
    "trailers": b"5\r\nhello\r\n0\r\n" + b"X-T: 1\r\n" * 128,
    "one trailer": b"5\r\nhello\r\n0\r\nX-T: " + b"1" * 1024,
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_framing_ends(shared_server: Server, queue: str, kind: str) -> None:
    """Extensions, sizes and trailers are nobody's message, and no limit of a body's counts them."""
    begin = ENDLESS[kind]
    answers = pour(shared_server, at(queue, chunked(begin)), b"X-T: 1\r\n" if kind == "trailers" else begin[-1:])
    assert b" 400 " in answers


def test_a_body_without_end_is_cut_off(shared_server: Server, queue: str) -> None:
    """It is answered when it is too large; what still comes is not read for ever."""
    answers = pour(shared_server, at(queue, chunked(b"")), b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
    assert b" 413 " in answers


def pour(server: Server, begin: bytes, piece: bytes) -> bytes:
    """Send this without end, until the connection is closed, and return what was answered."""
    data = piece * (1 + 65536 // len(piece))
    got = b""
    with connect(server.url) as wire:
        wire.sendall(begin)
        for _ in range(2000):
            try:
                wire.sendall(data)
                wire.settimeout(0.001)
                got += wire.recv(65536)
            except TimeoutError:
                pass
            except OSError:
                return got
            finally:
                wire.settimeout(30)
    raise AssertionError("128 MiB were read, and more would have been")


def test_chunks_of_a_byte_are_fine(shared_server: Server, shared: httpx2.Client, queue: str) -> None:
    answers: Answers = talk(shared_server, at(queue, chunked(b"1\r\nx\r\n" * 10_000 + b"0\r\n\r\n")))
    assert answers[0][0] == 201
    [message] = receive(shared, queue)
    assert message["body"] == "x" * 10_000


def test_the_large_chunk_that_never_comes(shared_server: Server, queue: str) -> None:
    """A size of 2^64 - 1 reserves nothing."""
    with socket.create_connection((shared_server.host, shared_server.port), timeout=20) as wire:
        wire.sendall(at(queue, chunked(b"ffffffffffffffff\r\nhello")))
        assert talk(shared_server, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")[0][0] == 200
