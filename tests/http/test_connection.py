"""The wire below the requests: what is not HTTP, what never ends, what asks for another protocol."""

import asyncio
import json
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from queuesvc.http.server import Server as HttpServer
from queuesvc.http.server import bind
from tests.support.server import Server

Name = Callable[..., str]
Answers = list[tuple[int, dict[str, str], bytes]]


def talk(server: Server, *pieces: bytes, until: int = 1) -> Answers:
    """Send each piece in a packet of its own, and read so many answers, or those that came before the end."""
    with socket.create_connection((server.host, server.port), timeout=20) as wire, wire.makefile("rb") as stream:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            wire.sendall(piece)
        return [answer for _ in range(until) if (answer := read_answer(stream))]


def read_answer(stream: Any) -> tuple[int, dict[str, str], bytes] | None:
    """One answer: status, headers, body."""
    line = stream.readline()
    if not line:
        return None
    headers: dict[str, str] = {}
    while (header := stream.readline().strip()) != b"":
        name, _, value = header.decode().partition(":")
        headers[name.lower()] = value.strip()
    return int(line.split()[1]), headers, stream.read(int(headers.get("content-length", 0)))


@pytest.mark.parametrize(
    "request_",
    [
        b"hello\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nBad Name: 1\r\n\r\n",
        b"POST /v1/queues/q/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: five\r\n\r\nhello",
        b"POST /v1/queues/q/messages HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
        b"POST /v1/q HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 70_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 70_000,
        b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n",
    ],
    ids=["words", "version", "header", "length", "chunk", "smuggled", "large head", "large line", "connect"],
)
def test_what_is_no_request_is_a_problem(shared_server: Server, request_: bytes) -> None:
    [(status, headers, body)] = talk(shared_server, request_)
    assert (status, headers["content-type"]) == (400, "application/problem+json")
    assert headers["connection"] == "close"
    assert headers["x-request-id"]
    assert json.loads(body)["type"] == "urn:queuesvc:malformed-request"


def test_pipelined_requests_are_answered_in_order(shared_server: Server) -> None:
    answers = talk(
        shared_server,
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /v1/nothing HTTP/1.1\r\nHost: localhost\r\n\r\n",
        until=2,
    )
    assert [status for status, _, _ in answers] == [200, 404]


def test_space_around_a_value_is_none_of_it(shared_server: Server, shared: httpx2.Client, queue: str) -> None:
    """On either side, as RFC 9110 (§5.5) has it: the parser leaves what is behind it."""
    head = (
        b"POST /v1/queues/%b/messages HTTP/1.1\r\nHost: \t localhost \r\nOrigin: http://localhost \r\n"
        b"Idempotency-Key: one \t\r\nMessage-Header-Shop: web \t \r\nContent-Type: text/plain \r\n" % queue.encode()
    )
    sized = head + b"Content-Length: 5 \r\n\r\nhello"
    chunked = head + b"Transfer-Encoding: chunked \r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    spaceless = re.sub(rb"[ \t]+\r\n", b"\r\n", sized).replace(b": \t ", b": ")
    answers = talk(shared_server, sized + chunked + spaceless, until=3)
    assert [status for status, _, _ in answers] == [201, 200, 200], answers
    [message] = shared.post(f"/v1/queues/{queue}/receive").json()["messages"]
    assert (message["content_type"], message["headers"], message["body"]) == ("text/plain", {"shop": "web"}, "hello")


def test_who_expects_to_be_told_to_go_on_is_told_so_with_space_around_it(shared_server: Server, queue: str) -> None:
    head = (
        b"POST /v1/queues/%b/messages HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue \r\nContent-Length: 1\r\n\r\n"
    )
    with socket.create_connection((shared_server.host, shared_server.port), timeout=20) as wire:
        wire.sendall(head % queue.encode())
        with wire.makefile("rb") as stream:
            told = read_answer(stream)
            assert told is not None
            assert told[0] == 100
            wire.sendall(b"x")
            answer = read_answer(stream)
            assert answer is not None
            assert answer[0] == 201


def bodies(shared: httpx2.Client, queue: str) -> list[str]:
    """The bodies of all messages of a queue."""
    answer = shared.post(f"/v1/queues/{queue}/receive", params={"max_messages": 100, "auto_ack": True})
    return [message["body"] for message in answer.json()["messages"]]


UPGRADE = b"Host: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        [b"Content-Length: 5\r\n\r\nhello"],
        [b"Content-Length: 5\r\n\r\n", b"hel", b"lo"],
        [b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n", b"2\r\nlo\r\n0\r\n\r\n"],
        [b"Content-Length: 5\r\n\r\nhel", b"lo"],
    ],
    ids=["at once", "in pieces", "chunked", "cut"],
)
def test_body_of_a_client_that_wants_http_2_is_kept(
    shared_server: Server, shared: httpx2.Client, queue: str, pieces: list[bytes]
) -> None:
    head = b"POST /v1/queues/%b/messages HTTP/1.1\r\n%b" % (queue.encode(), UPGRADE)
    [(status, headers, _)] = talk(shared_server, head + pieces[0], *pieces[1:])
    assert (status, headers.get("upgrade")) == (201, None)
    assert bodies(shared, queue) == ["hello"]


def test_connection_of_a_client_that_wants_http_2_goes_on(
    shared_server: Server, shared: httpx2.Client, queue: str
) -> None:
    """Twelve hundred in one packet: asking for it again and again does no harm either."""
    publish = b"POST /v1/queues/%b/messages HTTP/1.1\r\n%bContent-Length: 2\r\n\r\n" % (queue.encode(), UPGRADE)
    plain = b"POST /v1/queues/%b/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n" % queue.encode()
    empty = b"GET /healthz HTTP/1.1\r\n%b\r\n" % UPGRADE
    answers = talk(shared_server, publish + b"01" + plain + b"02" + empty + publish + b"03" + plain + b"04", until=5)
    assert [status for status, _, _ in answers] == [201, 201, 200, 201, 201]
    assert bodies(shared, queue) == ["01", "02", "03", "04"]
    assert len(talk(shared_server, empty * 1200, until=1200)) == 1200


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_curl_that_wants_http_2_publishes(shared_server: Server, shared: httpx2.Client, queue: str) -> None:
    command = ["curl", "-s", "--http2", "--max-time", "10", "-X", "POST", "-d", "hello"]
    result = subprocess.run([*command, f"{shared_server.url}/v1/queues/{queue}/messages"], capture_output=True)
    assert json.loads(result.stdout)["queues"] == [queue]
    assert bodies(shared, queue) == ["hello"]


@pytest.fixture(scope="module")
def impatient(way: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A broker that looks at slow clients five times a second."""
    data: Path = tmp_path_factory.mktemp("impatient") / "data"
    server = Server(data, env={**way, "QUEUESVC_SLOW_CLIENT_SECONDS": "0.2"})
    try:
        yield server.start()
    finally:
        server.close()


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"G",
        b"GET /healthz HTTP/1.1\r\nHost:",
        b"POST /v1/queues/q/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf",
        b"POST /v1/queues/q/messages HTTP/1.1\r\n" + UPGRADE + b"Content-Length: 1000\r\n\r\nhalf",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HTTP/1.1\r\nHost:",
    ],
    ids=["silence", "a letter", "half a head", "half a body", "half a body after upgrade", "half a second request"],
)
def test_client_that_never_ends_its_request_is_left(impatient: Server, begun: bytes) -> None:
    """The connection is closed: the read ends instead of timing out."""
    answers = talk(impatient, begun, until=2)
    assert len(answers) == (1 if b"\r\n\r\nGET" in begun else 0)


def test_client_that_waits_for_us_is_not_left(impatient: Server) -> None:
    with httpx2.Client(base_url=impatient.url) as http:
        assert http.put("/v1/queues/q", json={}).status_code in (200, 201)
        answer = http.post("/v1/queues/q/receive", params={"wait_seconds": 1})
        assert answer.json() == {"messages": []}
        assert http.get("/healthz").status_code == 200


async def test_idle_connection_is_closed_in_its_time() -> None:
    """Not while requests keep coming: with the last of them its time begins again."""
    with bind("127.0.0.1", 0) as listener:
        ready = asyncio.Event()
        server = HttpServer(_nothing, ready.set, shutdown_seconds=1, patience_seconds=30)
        server.config.timeout_keep_alive = 1
        running = asyncio.create_task(server.serve([listener]))
        await ready.wait()
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        loop = asyncio.get_running_loop()
        begin = now = loop.time()
        while now - begin < 1.2:
            now = loop.time()
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b" 204 " in await reader.readuntil(b"\r\n\r\n")
        assert await reader.read() == b""
        assert 0.9 < loop.time() - now < 10
        writer.close()
        server.stop()
        await running


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})
