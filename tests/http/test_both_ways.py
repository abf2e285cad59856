"""The short way is as strict as the long one: the same bytes, the same answers."""

import random
import re
import socket
from collections.abc import Iterator

import httpx2
import pytest

from tests.http.wire import make_queue
from tests.support.server import Server

SEED = 20261124
LAST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
REQUESTS = [
    b"POST /v1/queues/q/messages?priority=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
    b"Content-Type: text/plain\r\n\r\nhello",
    b"POST /v1/exchanges/x/messages/batch HTTP/1.1\r\nHost: localhost\r\nContent-Length: 27\r\n\r\n"
    + b'{"messages":[{"body":"x"}]}',
    b"POST /v1/queues/q/receive HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nContent-Length: 18\r\n\r\n"
    + b'{"max_messages": 1}',
    b"POST /v1/queues/q/ack HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\nContent-Length: 18\r\n\r\n"
    + b'{"receipts":["x"]}',
    b"POST /v1/queues/q/extend HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
]
NASTY = [
    b"\r",
    b"\n",
    b"\0",
    b" ",
    b":",
    b"\xff",
    b"%",
    b"%2",
    b"#",
    b"?",
    b"+1",
    b"0x5",
    b"-1",
    b"99999999999999999999",
]
NASTY += [
    b"\r\nConnection: close",
    b"\r\nExpect: 100-continue",
    b"\r\nContent-Length: 5",
    b"\r\nTransfer-Encoding: gzip",
]

NASTY += [
    b"\r\nTransfer-Encoding: keep-alive",
    b"\r\nUpgrade: h2c\r\nConnection: Upgrade",
    b"\r\nContent-Encoding: gzip",
]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    """Two brokers with the same queue and exchange, one for each way, that soon lose patience."""
    servers = []
    try:
        for way in ("true", "false"):
            env = {"QUEUESVC_SHORT_WAY": way, "QUEUESVC_SLOW_CLIENT_SECONDS": "0.1"}
            servers.append(Server(tmp_path_factory.mktemp("way") / "data", env=env).start())
            with httpx2.Client(base_url=servers[-1].url) as http:
                make_queue(http, "q")
                assert http.put("/v1/exchanges/x", json={"type": "fanout"}).status_code == 201
        yield servers
    finally:
        for server in servers:
            server.close()


def mutated(chance: random.Random) -> bytes:
    """A request with one or two things wrong with it."""
    request = chance.choice(REQUESTS)
    for _ in range(chance.randint(1, 2)):
        at = chance.randrange(len(request))
        match chance.randrange(3):
            case 0:
                request = request[:at] + chance.choice(NASTY) + request[at:]
            case 1:
                request = request[:at] + request[at + chance.randint(1, 3) :]
            case 2:
                request = request[:at] + bytes([chance.randrange(256)]) + request[at + 1 :]
    return request


def answers(server: Server, request: bytes) -> list[tuple[bytes, bytes]]:
    """Every answer's status and the kind of its problem, until the end of the connection."""
    with socket.create_connection((server.host, server.port), timeout=20) as wire:
        wire.sendall(request + LAST)
        got = b""
        try:
            while some := wire.recv(65536):
                got += some
        except ConnectionResetError:
            pass
    found = re.findall(rb"HTTP/1\.1 (\d\d\d) ", got)
    return [(status, kind) for status, kind in zip(found, kinds(got), strict=True)]


def kinds(got: bytes) -> list[bytes]:
    """For each answer its problem's type, or its content type."""
    heads = got.split(b"HTTP/1.1 ")[1:]
    return [
        match[0]
        if (match := re.search(rb"urn:queuesvc:[a-z-]+", head))
        else b"".join(re.findall(rb"content-type: .*", head))
        for head in heads
    ]


def test_same_bytes_same_answers(both: list[Server]) -> None:
    chance = random.Random(SEED)
    statuses: set[bytes] = set()
    for request in [*REQUESTS, *(mutated(chance) for _ in range(400))]:
        short, long = (answers(server, request) for server in both)
        assert short == long, request
        statuses.update(status for status, _ in short)
    assert {b"200", b"201", b"400", b"404", b"422"} <= statuses
    assert not any("Traceback" in server.log for server in both)
