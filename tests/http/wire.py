"""What tests on the wire share: declaring, publishing, receiving, and sockets that misbehave."""

import json
import socket
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2

Json = dict[str, Any]


def make_queue(http: httpx2.Client, queue: str, **settings: Any) -> str:
    """Declare a queue, and return its name."""
    answer = http.put(f"/v1/queues/{queue}", json=settings)
    assert answer.status_code == 201, answer.text
    return queue


def make_exchange(http: httpx2.Client, exchange: str, kind: str = "topic", **others: Any) -> str:
    """Declare an exchange, and return its name."""
    answer = http.put(f"/v1/exchanges/{exchange}", json={"type": kind, **others})
    assert answer.status_code == 201, answer.text
    return exchange


def bind(http: httpx2.Client, exchange: str, queue: str, routing_key: str = "#") -> None:
    """Bind a queue to an exchange."""
    answer = http.post(f"/v1/exchanges/{exchange}/bindings", json={"queue": queue, "routing_key": routing_key})
    assert answer.status_code == 201, answer.text


def put(http: httpx2.Client, queue: str, *bodies: str, **properties: Any) -> list[str]:
    """Publish texts straight into a queue, and return their ids."""
    messages = [{"body": body, **properties} for body in bodies]
    answer = http.post(f"/v1/queues/{queue}/messages/batch", json={"messages": messages})
    assert answer.status_code == 201, answer.text
    return [result["id"] for result in answer.json()["results"]]


def receive(http: httpx2.Client, queue: str, **options: Any) -> list[Json]:
    """Receive, and return the messages."""
    answer = http.post(f"/v1/queues/{queue}/receive", json=options)
    assert answer.status_code == 200, answer.text
    messages: list[Json] = answer.json()["messages"]
    return messages


def receive_one(http: httpx2.Client, queue: str, **options: Any) -> Json:
    """Receive the one message that is there, or soon will be."""
    (message,) = receive(http, queue, **{"wait_seconds": 10, **options})
    return message


def settle(http: httpx2.Client, queue: str, verb: str, *receipts: str, **others: Any) -> Json:
    """Ack, nack or extend, and return the answer."""
    answer = http.post(f"/v1/queues/{queue}/{verb}", json={"receipts": receipts, **others})
    assert answer.status_code == 200, answer.text
    settled: Json = answer.json()
    return settled


def stats(http: httpx2.Client, queue: str) -> Json:
    """A queue's statistics."""
    found: Json = http.get(f"/v1/queues/{queue}").json()["stats"]
    return found


def wait_for_waiters(http: httpx2.Client, queue: str, count: int) -> None:
    """Return once so many receives wait at the queue."""
    deadline = time.monotonic() + 30
    while stats(http, queue)["consumers_waiting"] != count:
        assert time.monotonic() < deadline, f"{count} receives never waited"


def assert_problem(answer: httpx2.Response, status: int, code: str, **members: Any) -> None:
    """It is this problem, and has these members."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == f"urn:queuesvc:{code}"
    assert problem["status"] == status
    assert problem["detail"]
    assert {name: problem.get(name) for name in members} == members


def connect(url: str) -> socket.socket:
    """A connection of one's own."""
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def request_bytes(path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """A POST as it goes over the wire."""
    given = [f"{name}: {value}" for name, value in (headers or {}).items()]
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", *given]
    if headers is None or "Content-Length" not in headers:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def read_answer(connection: socket.socket) -> tuple[int, bytes] | None:
    """The next answer's status and body; None where the connection ends before it is whole."""
    got = b""
    while b"\r\n\r\n" not in got:
        chunk = _read(connection)
        if not chunk:
            return None
        got += chunk
    head, _, body = got.partition(b"\r\n\r\n")
    status_line, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        chunk = _read(connection)
        if not chunk:
            return None
        body += chunk
    return int(status_line.split()[1]), body


def skip_answers(connection: socket.socket, count: int) -> None:
    """Read until so many pipelined requests were answered with a success; what comes on the heels of that is lost."""
    got = b""
    while got.count(b"HTTP/1.1 20") < count:
        chunk = _read(connection)
        assert chunk, got
        got += chunk


def messages_of(answer: tuple[int, bytes] | None) -> list[Json]:
    """The messages of a receive's answer."""
    assert answer is not None
    status, body = answer
    assert status == 200, body
    messages: list[Json] = json.loads(body)["messages"]
    return messages


def _read(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""
