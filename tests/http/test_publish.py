"""Publishing one message on the wire (§4)."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator

import httpx2
import pytest

from tests.http.wire import (
    assert_problem,
    bind,
    connect,
    make_exchange,
    make_queue,
    messages_of,
    put,
    read_answer,
    receive,
    receive_one,
    request_bytes,
    stats,
    wait_for_waiters,
)
from tests.support.server import Server

Name = Callable[..., str]
UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def test_a_message_goes_through_byte_for_byte(shared: httpx2.Client, exchange: str, queue: str) -> None:
    body = bytes(range(256)) * 3
    answer = shared.post(f"/v1/exchanges/{exchange}/messages", content=body, params={"routing_key": "a.b"})
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"id", "queues"}
    assert UUID7.fullmatch(answer.json()["id"])
    assert answer.json()["queues"] == [queue]
    got = shared.post(f"/v1/queues/{queue}/receive", headers={"Accept": "application/octet-stream"})
    assert got.content == body
    assert got.headers["message-id"] == answer.json()["id"]
    assert got.headers["content-type"] == "application/octet-stream"


def test_all_properties_are_carried(shared: httpx2.Client, exchange: str, queue: str) -> None:
    answer = shared.post(
        f"/v1/exchanges/{exchange}/messages?routing_key=order.%C3%BC+1&priority=3&ttl_seconds=60"
        "&group=g%2F1&correlation_id=c&reply_to=r&mandatory=true",
        content=b"{ }",
        headers=[
            ("Content-Type", 'application/json; profile="a b"'),
            ("Message-Header-Tenant", "acme"),
            ("MESSAGE-HEADER-X-Number", "3"),
            ("message-header-empty", ""),
        ],
    )
    assert answer.status_code == 201, answer.text
    message = receive_one(shared, queue)
    assert message["routing_key"] == "order.ü 1"
    assert message["exchange"] == exchange
    assert message["content_type"] == 'application/json; profile="a b"'
    assert message["headers"] == {"tenant": "acme", "x-number": "3", "empty": ""}
    assert message["priority"] == 3
    assert (message["group"], message["correlation_id"], message["reply_to"]) == ("g/1", "c", "r")
    assert message["body"] == "{ }"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", message["published_at"])


def test_straight_into_a_queue(shared: httpx2.Client, queue: str) -> None:
    answer = shared.post(f"/v1/queues/{queue}/messages", content=b"x")
    assert answer.status_code == 201
    assert answer.json()["queues"] == [queue]
    message = receive_one(shared, queue)
    assert (message["exchange"], message["routing_key"], message["body"]) == ("", queue, "x")
    assert (message["content_type"], message["headers"], message["group"]) == ("application/octet-stream", {}, None)


def test_an_empty_body_is_a_message(shared: httpx2.Client, queue: str) -> None:
    assert shared.post(f"/v1/queues/{queue}/messages").status_code == 201
    assert receive_one(shared, queue)["body"] == ""


def test_one_publish_reaches_each_queue_once_with_one_id(
    shared: httpx2.Client, exchange: str, queue: str, name: Name
) -> None:
    other = make_queue(shared, name("q"))
    bind(shared, exchange, other, "a.*")
    bind(shared, exchange, other, "*.b")
    answer = shared.post(f"/v1/exchanges/{exchange}/messages?routing_key=a.b", content=b"x").json()
    assert sorted(answer["queues"]) == sorted([queue, other])
    (one,), (two,) = receive(shared, queue, max_messages=9), receive(shared, other, max_messages=9)
    assert one["id"] == two["id"] == answer["id"]


def test_reaching_no_queue_is_an_error_only_if_mandatory(shared: httpx2.Client, name: Name) -> None:
    exchange = make_exchange(shared, name("x"), "direct")
    url = f"/v1/exchanges/{exchange}/messages"
    answer = shared.post(url, content=b"x")
    assert (answer.status_code, answer.json()["queues"]) == (201, [])
    assert_problem(shared.post(url, content=b"x", params={"mandatory": "true"}), 422, "unroutable", index=None)


def test_a_delayed_message_comes_later(shared: httpx2.Client, queue: str) -> None:
    assert shared.post(f"/v1/queues/{queue}/messages?delay_seconds=3600", content=b"much later").status_code == 201
    assert receive(shared, queue) == []
    began = time.monotonic()
    assert shared.post(f"/v1/queues/{queue}/messages?delay_seconds=0.2", content=b"later").status_code == 201
    assert receive_one(shared, queue)["body"] == "later"
    assert time.monotonic() - began > 0.19
    assert stats(shared, queue)["delayed"] == 1


@pytest.mark.parametrize(
    ("path", "code"),
    [("/v1/exchanges/nowhere/messages", "exchange-not-found"), ("/v1/queues/nowhere/messages", "queue-not-found")],
)
def test_an_unknown_target_is_not_found(shared: httpx2.Client, path: str, code: str) -> None:
    assert_problem(shared.post(path, content=b"x"), 404, code)


@pytest.mark.parametrize(("kind", "field"), [("exchanges", "exchange"), ("queues", "queue")])
@pytest.mark.parametrize("bad", ["%20", "a%2Fb", ".a", "a" * 256, "%C3%A4"])
def test_what_can_be_no_name_is_invalid(shared: httpx2.Client, kind: str, field: str, bad: str) -> None:
    assert_problem(shared.post(f"/v1/{kind}/{bad}/messages", content=b"x"), 422, "invalid-request", field=field)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("colour=red", "colour"),
        ("body=x", "body"),
        ("priority=1&priority=1", "priority"),
        ("priority=256", "priority"),
        ("priority=1.5", "priority"),
        ("priority=", "priority"),
        ("priority", "priority"),
        ("delay_seconds=-1", "delay_seconds"),
        ("delay_seconds=31622401", "delay_seconds"),
        ("delay_seconds=nan", "delay_seconds"),
        ("delay_seconds=1_0", "delay_seconds"),
        ("ttl_seconds=0", "ttl_seconds"),
        ("ttl_seconds=1e999", "ttl_seconds"),
        ("mandatory=1", "mandatory"),
        ("routing_key=" + "x" * 256, "routing_key"),
        ("routing_key=%00", "routing_key"),
        ("group=a%0Ab", "group"),
        ("correlation_id=%7F", "correlation_id"),
        ("reply_to=%C2%80", "reply_to"),
    ],
)
def test_a_bad_option_is_invalid(shared: httpx2.Client, exchange: str, queue: str, query: str, field: str) -> None:
    answer = shared.post(f"/v1/exchanges/{exchange}/messages?{query}", content=b"x")
    assert_problem(answer, 422, "invalid-request", field=field)
    assert receive(shared, queue) == []


def test_a_routing_key_straight_into_a_queue_is_invalid(shared: httpx2.Client, queue: str) -> None:
    answer = shared.post(f"/v1/queues/{queue}/messages", content=b"x", params={"routing_key": queue})
    assert_problem(answer, 422, "invalid-request", field="routing_key")


@pytest.mark.parametrize("query", ["routing_key=%", "routing_key=%zz", "routing_key=%FF", "%C3=1"])
def test_a_query_that_cannot_be_read_is_malformed(shared_server: Server, exchange: str, query: str) -> None:
    with connect(shared_server.url) as connection:
        connection.sendall(request_bytes(f"/v1/exchanges/{exchange}/messages?{query}", b"x"))
        answer = read_answer(connection)
    assert answer is not None
    assert answer[0] == 400
    assert b"urn:queuesvc:malformed-request" in answer[1]


@pytest.mark.parametrize(
    ("headers", "status", "code", "field"),
    [
        ([("Message-Header-A_b", b"x")], 422, "invalid-request", "headers"),
        ([("Message-Header-", b"x")], 422, "invalid-request", "headers"),
        ([("Message-Header-A", b"\xff")], 400, "malformed-request", None),
        ([("Content-Type", b"text/\xff")], 400, "malformed-request", None),
        ([("Content-Type", b"x" * 256)], 422, "invalid-request", "content_type"),
        ([("Idempotency-Key", b"\xff")], 400, "malformed-request", None),
        ([("Idempotency-Key", b"")], 422, "invalid-request", "idempotency_key"),
        ([("Idempotency-Key", b"x" * 256)], 422, "invalid-request", "idempotency_key"),
        ([("Idempotency-Key", b"a"), ("Idempotency-Key", b"a")], 422, "invalid-request", "Idempotency-Key"),
        ([(f"Message-Header-{number}", b"x") for number in range(65)], 422, "invalid-request", "headers"),
        ([("Message-Header-A", b"x" * 16384)], 422, "invalid-request", "headers"),
        ([("Content-Encoding", b"gzip")], 415, "unsupported-media-type", None),
    ],
)
def test_a_bad_header_is_refused(
    shared: httpx2.Client,
    queue: str,
    headers: list[tuple[str, bytes]],
    status: int,
    code: str,
    field: str | None,
) -> None:
    sent = [(name.encode(), value) for name, value in headers]
    answer = shared.post(f"/v1/queues/{queue}/messages", content=b"x", headers=sent)
    assert_problem(answer, status, code, field=field)
    assert receive(shared, queue) == []


def test_headers_are_text_in_utf8(shared: httpx2.Client, queue: str) -> None:
    headers = [(b"Message-Header-Name", "Jürgen, 東京".encode()), (b"Message-Header-Twice", b"a")]
    headers += [(b"Message-Header-Twice", b"b"), (b"Idempotency-Key", b"k"), (b"Content-Encoding", b"identity")]
    assert shared.post(f"/v1/queues/{queue}/messages", content=b"x", headers=headers).status_code == 201
    assert receive_one(shared, queue)["headers"] == {"name": "Jürgen, 東京", "twice": "a, b"}


def test_a_body_at_the_limit_is_taken_and_one_above_is_not(shared: httpx2.Client, queue: str) -> None:
    url = f"/v1/queues/{queue}/messages"
    assert_problem(shared.post(url, content=b"x" * (1024 * 1024 + 1)), 413, "body-too-large")
    assert receive(shared, queue) == []
    assert shared.post(url, content=b"x" * 1024 * 1024).status_code == 201
    assert len(receive_one(shared, queue)["body"]) == 1024 * 1024


def test_a_body_too_large_is_refused_before_it_comes(shared_server: Server, queue: str) -> None:
    with connect(shared_server.url) as connection:
        headers = {"Content-Length": str(2**40)}
        connection.sendall(request_bytes(f"/v1/queues/{queue}/messages", b"", headers))
        answer = read_answer(connection)
    assert answer is not None
    assert answer[0] == 413


def test_a_chunked_body_too_large_is_refused(shared: httpx2.Client, queue: str) -> None:
    def chunks(count: int) -> Iterator[bytes]:
        for _ in range(count):
            yield b"x" * 65536

    url = f"/v1/queues/{queue}/messages"
    assert_problem(shared.post(url, content=chunks(17)), 413, "body-too-large")
    assert shared.post(url, content=chunks(16)).status_code == 201
    assert len(receive_one(shared, queue)["body"]) == 1024 * 1024


def test_a_publisher_that_leaves_in_the_middle_stored_nothing(
    shared: httpx2.Client, shared_server: Server, queue: str
) -> None:
    with connect(shared_server.url) as connection:
        headers = {"Content-Length": "10"}
        connection.sendall(request_bytes(f"/v1/queues/{queue}/messages", b"half", headers))
    # Only after its end was seen can this one's commit have passed.
    put(shared, queue, "whole")
    assert [message["body"] for message in receive(shared, queue, max_messages=9)] == ["whole"]


def test_higher_priorities_come_first(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name("q"), max_priority=5)
    for priority in (0, 9, 3, 5, 0):
        shared.post(f"/v1/queues/{queue}/messages?priority={priority}", content=str(priority).encode())
    assert [message["body"] for message in receive(shared, queue, max_messages=9)] == ["9", "5", "3", "0", "0"]


CALLS = ["exchanges/n/messages/batch", *(f"queues/n/{verb}" for verb in ("receive", "ack", "nack", "extend"))]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_another_method_is_not_allowed(shared: httpx2.Client, method: str, call: str) -> None:
    answer = shared.request(method, f"/v1/{call}")
    assert_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/v1/queues/n/messages/", "/v1/queues/n/batch", "/v2/queues/n/ack", "/v1/queues//x"])
def test_another_path_is_not_found(shared: httpx2.Client, path: str) -> None:
    assert_problem(shared.post(path, content=b"x"), 404, "not-found")


def test_every_answer_bears_a_request_id(shared: httpx2.Client, queue: str) -> None:
    url = f"/v1/queues/{queue}/messages"
    mine = shared.post(url, content=b"x", headers={"X-Request-Id": "mine 1"})
    first, second = shared.post(url, content=b"x"), shared.post(url, content=b"x")
    refused = shared.post(f"{url}?x=1", headers={"X-Request-Id": "mine 2"})
    assert mine.headers["x-request-id"] == "mine 1"
    assert refused.headers["x-request-id"] == "mine 2"
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert shared.post(url, headers={"X-Request-Id": "x" * 129}).headers["x-request-id"] != "x" * 129


def test_a_published_message_survives_a_crash(server: Server, http: httpx2.Client) -> None:
    make_queue(http, "q")
    ids = [http.post("/v1/queues/q/messages", content=b"x").json()["id"] for _ in range(20)]
    server.kill()
    server.start()
    with httpx2.Client(base_url=server.url) as again:
        assert [message["id"] for message in receive(again, "q", max_messages=100)] == ids


def test_a_publish_during_shutdown_is_refused(server: Server, http: httpx2.Client) -> None:
    make_queue(http, "q")
    with connect(server.url) as poller, connect(server.url) as publisher:
        poller.sendall(request_bytes("/v1/queues/q/receive?wait_seconds=60"))
        wait_for_waiters(http, "q", 1)
        publisher.sendall(
            request_bytes("/v1/queues/q/messages", headers={"Content-Length": "4", "Expect": "100-continue"})
        )
        assert publisher.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        os.kill(server.pid, signal.SIGTERM)
        # The waiting receive is answered once the shutdown has begun.
        assert messages_of(read_answer(poller)) == []
        publisher.sendall(b"late")
        refused = read_answer(publisher)
    assert refused is not None
    assert refused[0] == 503
    assert b'"type":"urn:queuesvc:unavailable"' in refused[1]
    assert b'"retry_after_seconds":1' in refused[1]
    assert server.wait() == 0
    server.start()
    with httpx2.Client(base_url=server.url) as again:
        assert receive(again, "q") == []
