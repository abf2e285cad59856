"""Requests that wait for their reply, and replies to those who wait (§7)."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any
from urllib.parse import unquote

import httpx2
import pytest

from tests.http.wire import (
    assert_problem,
    bind,
    connect,
    make_exchange,
    make_queue,
    put,
    read_answer,
    receive_one,
    request_bytes,
    settle,
    stats,
)
from tests.support.server import Server
from tests.support.until import wait_until

Name = Callable[..., str]
Ask = Callable[..., "Future[httpx2.Response]"]


@pytest.fixture
def ask(shared: httpx2.Client, exchange: str) -> Iterator[Ask]:
    """Begin a request in a thread of its own: `ask(b"body", wait_seconds=30)`."""
    with ThreadPoolExecutor(24) as pool:

        def begin(content: bytes = b"", headers: Any = None, **query: Any) -> "Future[httpx2.Response]":
            url = f"/v1/exchanges/{exchange}/request"
            return pool.submit(shared.post, url, content=content, headers=headers, params=query)

        yield begin


def reply(http: httpx2.Client, address: str, content: bytes = b"", **others: Any) -> httpx2.Response:
    """Publish to a reply address."""
    return http.post(f"/v1/queues/{address}/messages", content=content, **others)


# --- asking and replying ------------------------------------------------------------


def test_a_request_is_answered_with_the_reply(shared: httpx2.Client, exchange: str, queue: str, ask: Ask) -> None:
    asked = ask(
        b"\x00question",
        {"Content-Type": "image/png", "Message-Header-A": "1"},
        routing_key="price.ask",
        correlation_id="c1",
        priority=3,
        wait_seconds=30,
    )
    message = receive_one(shared, queue)
    assert (message["exchange"], message["routing_key"], message["body"]) == (exchange, "price.ask", "\x00question")
    assert (message["content_type"], message["headers"]) == ("image/png", {"a": "1"})
    assert (message["correlation_id"], message["priority"]) == ("c1", 3)
    address = message["reply_to"]
    assert address.startswith("_reply.")
    assert len(address) > 30
    headers = {"Content-Type": "text/x; a=b", "Message-Header-Name": "ü %".encode()}
    replied = reply(shared, address, b"\xff\x00answer", headers=headers, params={"correlation_id": "c 1", "group": "g"})
    assert (replied.status_code, replied.json()["queues"]) == (201, [address])
    answer = asked.result()
    assert (answer.status_code, answer.content) == (200, b"\xff\x00answer")
    assert answer.headers["content-type"] == "text/x; a=b"
    found = {key[8:]: unquote(value) for key, value in answer.headers.items() if key.startswith("message-")}
    assert found.pop("published-at")
    assert found == {
        "id": replied.json()["id"],
        "routing-key": address,
        "priority": "0",
        "correlation-id": "c 1",
        "group": "g",
        "header-name": "ü %",
    }
    assert answer.headers["x-request-id"]
    # The question itself is a message like any other.
    assert settle(shared, queue, "ack", message["receipt"])["acked"] == 1


def test_replying_in_the_transaction_that_acknowledges(shared: httpx2.Client, queue: str, ask: Ask) -> None:
    asked = ask(b"7")
    message = receive_one(shared, queue)
    done = shared.post(
        "/v1/transactions",
        json={
            "acks": [{"queue": queue, "receipts": [message["receipt"]]}],
            "publishes": [{"queue": message["reply_to"], "json": {"price": 7}}],
        },
    )
    assert done.status_code == 200
    assert done.json()["results"][0]["queues"] == [message["reply_to"]]
    answer = asked.result()
    assert (answer.content, answer.headers["content-type"]) == (b'{"price":7}', "application/json")


def test_a_refused_transaction_replies_nothing(shared: httpx2.Client, queue: str, ask: Ask) -> None:
    asked = ask(b"7")
    message = receive_one(shared, queue)
    settle(shared, queue, "ack", message["receipt"])
    parts = {
        "acks": [{"queue": queue, "receipts": [message["receipt"]]}],
        "publishes": [{"queue": message["reply_to"], "body": "wrong"}],
    }
    assert_problem(shared.post("/v1/transactions", json=parts), 409, "gone")
    assert reply(shared, message["reply_to"], b"right").json()["queues"] == [message["reply_to"]]
    assert asked.result().content == b"right"


def test_only_the_first_reply_counts(shared: httpx2.Client, queue: str, ask: Ask) -> None:
    asked = ask()
    address = receive_one(shared, queue)["reply_to"]
    assert reply(shared, address, b"first").json()["queues"] == [address]
    assert asked.result().content == b"first"
    late = reply(shared, address, b"second")
    assert (late.status_code, late.json()["queues"]) == (201, [])


def test_each_of_many_gets_its_own_reply(shared: httpx2.Client, queue: str, ask: Ask) -> None:
    asked = {n: ask(str(n).encode()) for n in range(20)}
    addresses = set()
    for _ in asked:
        message = receive_one(shared, queue, lease_seconds=600)
        addresses.add(message["reply_to"])
        reply(shared, message["reply_to"], f"to {message['body']}".encode())
    assert len(addresses) == 20
    assert {n: answer.result().text for n, answer in asked.items()} == {n: f"to {n}" for n in range(20)}


def test_a_structured_cloudevent_may_ask_and_a_binary_one_reply(shared: httpx2.Client, queue: str, ask: Ask) -> None:
    event = b'{"specversion":"1.0","id":"1","source":"/s","type":"price.ask"}'
    asked = ask(event, {"Content-Type": "application/cloudevents+json"})
    message = receive_one(shared, queue)
    assert (message["routing_key"], message["body"]) == ("price.ask", event.decode())
    attributes = {"ce-specversion": "1.0", "ce-id": "2", "ce-source": "/r", "ce-type": "price.told"}
    reply(shared, message["reply_to"], b"7", headers=attributes)
    answer = asked.result()
    assert {name: answer.headers[f"message-header-{name}"] for name in attributes} == attributes


def test_retrying_a_reply_with_its_key(shared: httpx2.Client, queue: str, ask: Ask) -> None:
    asked = ask()
    address = receive_one(shared, queue)["reply_to"]
    key = {"Idempotency-Key": address}
    first = reply(shared, address, b"once", headers=key)
    again = reply(shared, address, b"once", headers=key)
    assert again.json() == {**first.json(), "duplicate": True}
    assert asked.result().content == b"once"


# --- no reply -----------------------------------------------------------------------


def test_no_reply_in_time(shared: httpx2.Client, exchange: str, queue: str) -> None:
    began = time.monotonic()
    answer = shared.post(f"/v1/exchanges/{exchange}/request?wait_seconds=0.2", content=b"x")
    assert time.monotonic() - began >= 0.2
    message = receive_one(shared, queue)
    # The message was published, and can still be found.
    assert_problem(answer, 504, "no-reply", id=message["id"], queues=[queue])
    late = reply(shared, message["reply_to"], b"late")
    assert (late.status_code, late.json()["queues"]) == (201, [])
    assert stats(shared, queue)["published"] == 1


def test_a_request_that_waits_for_nothing(shared: httpx2.Client, exchange: str, queue: str) -> None:
    answer = shared.post(f"/v1/exchanges/{exchange}/request?wait_seconds=0", content=b"x")
    assert_problem(answer, 504, "no-reply", queues=[queue])
    assert stats(shared, queue)["published"] == 1


def test_a_request_that_reaches_no_queue_does_not_wait(shared: httpx2.Client, name: Name) -> None:
    exchange = make_exchange(shared, name("x"))
    url = f"/v1/exchanges/{exchange}/request?wait_seconds=60"
    began = time.monotonic()
    assert_problem(shared.post(url, content=b"x"), 504, "no-reply", queues=[])
    assert_problem(shared.post(f"{url}&mandatory=false", content=b"x"), 504, "no-reply", queues=[])
    assert_problem(shared.post(f"{url}&mandatory=true", content=b"x"), 422, "unroutable")
    assert time.monotonic() - began < 30


def test_a_request_that_is_refused_does_not_wait(shared: httpx2.Client, exchange: str, queue: str) -> None:
    url = f"/v1/exchanges/{exchange}/request"
    assert shared.patch(f"/v1/queues/{queue}", json={"max_messages": 1}).status_code == 200
    put(shared, queue, "there")
    full = shared.post(url, content=b"x")
    assert_problem(full, 429, "queue-full", queue=queue)
    assert full.headers["retry-after"]
    assert_problem(shared.post("/v1/exchanges/nobody/request"), 404, "exchange-not-found")
    assert_problem(shared.post(url, content=b"x" * (1024 * 1024 + 1)), 413, "body-too-large")


@pytest.mark.parametrize(
    ("query", "headers", "field"),
    [
        ({"reply_to": "mine"}, {}, "reply_to"),
        ({"wait_seconds": "-1"}, {}, "wait_seconds"),
        ({"wait_seconds": "61"}, {}, "wait_seconds"),
        ({"wait_seconds": "soon"}, {}, "wait_seconds"),
        ({"wait": "1"}, {}, "wait"),
        ({"mandatory": "1"}, {}, "mandatory"),
        ({"priority": "256"}, {}, "priority"),
        ({}, {"Idempotency-Key": "k"}, "Idempotency-Key"),
        ({}, {"Content-Type": "application/cloudevents-batch+json"}, "Content-Type"),
        ({}, {"ce-id": "1"}, "ce-specversion"),
        ({}, {"Message-Header-A_B": "1"}, "headers"),
    ],
)
def test_bad_requests(
    shared: httpx2.Client, exchange: str, queue: str, query: dict[str, str], headers: dict[str, str], field: str
) -> None:
    answer = shared.post(f"/v1/exchanges/{exchange}/request", content=b"x", params=query, headers=headers)
    assert_problem(answer, 422, "invalid-request", field=field)
    assert stats(shared, queue)["published"] == 0


# --- addresses ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    ["_reply", "_reply.", "_replyx.abc", "_other.abc", "_", "_reply.a.b", "_reply.a%20b", "_reply." + "a" * 249],
)
def test_what_is_no_reply_address_is_no_queue_either(shared: httpx2.Client, address: str) -> None:
    assert_problem(reply(shared, address, b"x"), 422, "invalid-request", field="queue")


def test_nothing_but_replying_can_be_done_with_an_address(shared: httpx2.Client, queue: str, ask: Ask) -> None:
    asked = ask()
    address = receive_one(shared, queue)["reply_to"]
    for call in ("messages/batch", "receive", "ack", "nack", "extend"):
        assert_problem(shared.post(f"/v1/queues/{address}/{call}"), 422, "invalid-request", field="queue")
    for method in ("PUT", "PATCH", "GET", "DELETE"):
        assert_problem(shared.request(method, f"/v1/queues/{address}", json={}), 422, "invalid-request")
    binding = shared.post("/v1/exchanges/any/bindings", json={"queue": address})
    assert_problem(binding, 422, "invalid-request", field="queue")
    batched = {"Content-Type": "application/cloudevents-batch+json"}
    assert_problem(reply(shared, address, b"[]", headers=batched), 422, "invalid-request", field="Content-Type")
    # A reply that is refused is none.
    assert_problem(reply(shared, address, b"x", params={"routing_key": "x"}), 422, "invalid-request")
    assert reply(shared, address, b"done").status_code == 201
    assert asked.result().content == b"done"


def test_an_address_nobody_waits_at_takes_anything(shared: httpx2.Client) -> None:
    for _ in range(3):
        answer = reply(shared, "_reply.0123456789_-abcdefABCDEF", b"x")
        assert (answer.status_code, answer.json()["queues"]) == (201, [])
    assert shared.get("/v1/queues?after=_&limit=1").status_code == 200


# --- leaving, ending --------------------------------------------------------------------


def test_one_who_left_waits_no_more(shared: httpx2.Client, shared_server: Server, exchange: str, queue: str) -> None:
    with closing(connect(shared_server.url)) as asker:
        asker.sendall(request_bytes(f"/v1/exchanges/{exchange}/request?wait_seconds=60", b"x"))
        address = receive_one(shared, queue)["reply_to"]
    # It is noticed soon, and the message that asked is there as before.
    wait_until(lambda: reply(shared, address, b"x", headers={"Message-Header-Try": "1"}).json()["queues"] == [])
    assert stats(shared, queue)["published"] == 1


def test_the_connection_goes_on_after_a_reply(
    shared: httpx2.Client, shared_server: Server, exchange: str, queue: str
) -> None:
    with closing(connect(shared_server.url)) as asker:
        for turn in (b"one", b"two"):
            asker.sendall(request_bytes(f"/v1/exchanges/{exchange}/request?wait_seconds=60", turn))
            message = receive_one(shared, queue, auto_ack=True)
            assert message["body"] == turn.decode()
            reply(shared, message["reply_to"], b"re: " + turn)
            assert read_answer(asker) == (200, b"re: " + turn)


def test_at_shutdown_nobody_waits_on(server: Server, http: httpx2.Client) -> None:
    make_queue(http, "q")
    make_exchange(http, "x", "fanout")
    bind(http, "x", "q")
    with closing(connect(server.url)) as asker:
        asker.sendall(request_bytes("/v1/exchanges/x/request?wait_seconds=60", b"x"))
        receive_one(http, "q")
        os.kill(server.pid, signal.SIGTERM)
        answer = read_answer(asker)
    assert answer is not None
    assert answer[0] == 504
    assert b"urn:queuesvc:no-reply" in answer[1]
    assert server.wait() == 0


def test_after_a_crash_a_reply_finds_nobody_but_is_taken(server: Server, http: httpx2.Client) -> None:
    make_queue(http, "q")
    make_exchange(http, "x", "fanout")
    bind(http, "x", "q")
    with closing(connect(server.url)) as asker:
        asker.sendall(request_bytes("/v1/exchanges/x/request?wait_seconds=60", b"x"))
        message = receive_one(http, "q", lease_seconds=600)
        server.kill()
    server.start()
    parts = {
        "acks": [{"queue": "q", "receipts": [message["receipt"]]}],
        "publishes": [{"queue": message["reply_to"], "body": "nobody hears it"}],
    }
    answer = http.post("/v1/transactions", json=parts)
    assert answer.status_code == 200, answer.text
    assert answer.json()["results"][0]["queues"] == []
