"""Receiving on the wire (§5): options, order, long polls, both forms of the answer."""

import base64
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx2
import pytest

from tests.http.wire import (
    Json,
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
    settle,
    stats,
    wait_for_waiters,
)
from tests.support.server import Server

Name = Callable[..., str]
RAW = {"Accept": "application/octet-stream"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def test_a_message_as_the_contract_shows_it(shared: httpx2.Client, queue: str, name: Name) -> None:
    exchange = make_exchange(shared, name("x"), "direct")
    bind(shared, exchange, queue, "order.created")
    url = f"/v1/exchanges/{exchange}/messages?routing_key=order.created"
    published = shared.post(url, content=b'{"a":1}', headers={"Content-Type": "application/json"}).json()
    answer = shared.post(f"/v1/queues/{queue}/receive", json={"lease_seconds": 60})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["messages"]
    (message,) = answer.json()["messages"]
    leased_until, published_at = message["lease_expires_at"], message["published_at"]
    assert TIME.fullmatch(leased_until)
    assert TIME.fullmatch(published_at)
    assert published_at < leased_until
    receipt = message["receipt"]
    assert receipt
    assert list(message.items()) == [
        ("id", published["id"]),
        ("receipt", receipt),
        ("lease_expires_at", leased_until),
        ("delivery_count", 1),
        ("failed_count", 0),
        ("exchange", exchange),
        ("routing_key", "order.created"),
        ("content_type", "application/json"),
        ("headers", {}),
        ("priority", 0),
        ("group", None),
        ("correlation_id", None),
        ("reply_to", None),
        ("published_at", published_at),
        ("expires_at", None),
        ("deaths", []),
        ("body", '{"a":1}'),
    ]


def test_an_empty_queue_answers_empty(shared: httpx2.Client, queue: str) -> None:
    answer = shared.post(f"/v1/queues/{queue}/receive")
    assert (answer.status_code, answer.json()) == (200, {"messages": []})


def test_a_wait_runs_out_empty(shared: httpx2.Client, queue: str) -> None:
    answer = shared.post(f"/v1/queues/{queue}/receive?wait_seconds=0.3")
    assert (answer.status_code, answer.json()) == (200, {"messages": []})
    assert answer.elapsed.total_seconds() >= 0.29
    assert stats(shared, queue)["consumers_waiting"] == 0


def test_as_many_as_asked_for_oldest_first(shared: httpx2.Client, queue: str) -> None:
    ids = put(shared, queue, *map(str, range(5)))
    first = receive(shared, queue, max_messages=2)
    rest = receive(shared, queue, max_messages=1000)
    assert [message["id"] for message in first + rest] == ids
    assert len({message["receipt"] for message in first + rest}) == 5
    assert receive(shared, queue) == []


def test_options_in_the_query_or_in_the_body(shared: httpx2.Client, queue: str) -> None:
    put(shared, queue, *"abcd")
    url = f"/v1/queues/{queue}/receive"
    query = shared.post(f"{url}?max_messages=2&wait_seconds=1.5&lease_seconds=60&consumer=me%201&auto_ack=false")
    assert len(query.json()["messages"]) == 2
    both = shared.post(f"{url}?max_messages=2&consumer=me", json={"max_messages": 2, "consumer": None, "ack": None})
    assert len(both.json()["messages"]) == 2
    differ = shared.post(f"{url}?max_messages=2", json={"max_messages": 3})
    assert_problem(differ, 422, "invalid-request", field="max_messages")


def test_the_content_type_of_the_options_does_not_matter(shared: httpx2.Client, queue: str) -> None:
    put(shared, queue, "a", "b")
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = shared.post(f"/v1/queues/{queue}/receive", content=b'{"max_messages":2}', headers=headers)
    assert len(answer.json()["messages"]) == 2


@pytest.mark.parametrize(
    ("query", "body", "field"),
    [
        ("colour=1", {}, "colour"),
        ("ack=x", {}, "ack"),
        ("max_messages=1&max_messages=1", {}, "max_messages"),
        ("max_messages=x", {}, "max_messages"),
        ("auto_ack=yes", {}, "auto_ack"),
        ("", {"colour": None}, "colour"),
        ("", {"max_messages": 0}, "max_messages"),
        ("", {"max_messages": 1001}, "max_messages"),
        ("", {"max_messages": 1.0}, "max_messages"),
        ("", {"max_messages": True}, "max_messages"),
        ("", {"wait_seconds": -1}, "wait_seconds"),
        ("", {"wait_seconds": 60.5}, "wait_seconds"),
        ("", {"wait_seconds": "1"}, "wait_seconds"),
        ("", {"wait_seconds": True}, "wait_seconds"),
        ("", {"lease_seconds": 0.09}, "lease_seconds"),
        ("", {"lease_seconds": 43201}, "lease_seconds"),
        ("", {"consumer": 1}, "consumer"),
        ("", {"consumer": "a\nb"}, "consumer"),
        ("", {"consumer": "é" * 128}, "consumer"),
        ("", {"auto_ack": 1}, "auto_ack"),
        ("", {"ack": "receipt"}, "ack"),
        ("", {"ack": [1]}, "ack"),
        ("", {"ack": ["x"] * 1001}, "ack"),
    ],
)
def test_a_bad_option_is_invalid(shared: httpx2.Client, queue: str, query: str, body: Json, field: str) -> None:
    put(shared, queue, "x")
    answer = shared.post(f"/v1/queues/{queue}/receive?{query}", json=body)
    assert_problem(answer, 422, "invalid-request", field=field)
    assert receive_one(shared, queue)["delivery_count"] == 1


@pytest.mark.parametrize(("body", "code"), [(b"{", 400), (b"\xff", 400), (b"[]", 422), (b'"x"', 422), (b"null", 422)])
def test_a_body_that_is_no_object_is_refused(shared: httpx2.Client, queue: str, body: bytes, code: int) -> None:
    answer = shared.post(f"/v1/queues/{queue}/receive", content=body)
    assert_problem(answer, code, "malformed-request" if code == 400 else "invalid-request")


def test_an_unknown_queue_is_not_found(shared: httpx2.Client) -> None:
    for options in ({}, {"wait_seconds": 60}, {"ack": ["x"]}):
        assert_problem(shared.post("/v1/queues/nowhere/receive", json=options), 404, "queue-not-found")
    assert_problem(shared.post("/v1/queues/.nowhere/receive"), 422, "invalid-request", field="queue")


def test_a_wait_ends_when_its_queue_is_deleted(shared: httpx2.Client, queue: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(shared.post, f"/v1/queues/{queue}/receive?wait_seconds=60")
        wait_for_waiters(shared, queue, 1)
        assert shared.delete(f"/v1/queues/{queue}").status_code == 204
        assert_problem(waiting.result(30), 404, "queue-not-found")


def test_waiting_consumers_are_served_first_come_first_served(
    shared: httpx2.Client, shared_server: Server, queue: str
) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(shared_server.url)) for _ in range(8)]
        for count, connection in enumerate(connections, 1):
            connection.sendall(request_bytes(f"/v1/queues/{queue}/receive?wait_seconds=30&max_messages=1"))
            wait_for_waiters(shared, queue, count)
        ids = put(shared, queue, *map(str, range(3)))
        ids += [put(shared, queue, str(number))[0] for number in range(3, 8)]
        got = [messages_of(read_answer(connection)) for connection in connections]
    assert [[message["id"] for message in messages] for messages in got] == [[id_] for id_ in ids]


def test_a_wait_is_answered_with_what_is_there_at_once(shared: httpx2.Client, queue: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(receive, shared, queue, wait_seconds=60, max_messages=10)
        wait_for_waiters(shared, queue, 1)
        put(shared, queue, "a", "b")
        assert [message["body"] for message in waiting.result(30)] == ["a", "b"]


def test_a_wait_sees_a_lease_run_out(shared: httpx2.Client, queue: str) -> None:
    put(shared, queue, "x")
    first = receive_one(shared, queue, lease_seconds=0.2)
    second = receive_one(shared, queue)
    assert (second["id"], second["delivery_count"], second["failed_count"]) == (first["id"], 2, 1)
    assert second["receipt"] != first["receipt"]
    assert second["lease_expires_at"] > first["lease_expires_at"]


def test_the_lease_is_the_queue_s_unless_asked_for(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name("q"), lease_seconds=0.2)
    put(shared, queue, "a", "b")
    long = receive_one(shared, queue, lease_seconds=3600)
    short = receive_one(shared, queue)
    again = receive_one(shared, queue)
    assert again["id"] == short["id"] != long["id"]


def test_auto_ack_removes_before_the_answer(shared: httpx2.Client, queue: str) -> None:
    put(shared, queue, "a", "b", "c")
    messages = receive(shared, queue, max_messages=2, auto_ack=True)
    assert [message["body"] for message in messages] == ["a", "b"]
    assert {(message["receipt"], message["lease_expires_at"]) for message in messages} == {(None, None)}
    found = stats(shared, queue)
    assert (found["ready"], found["leased"], found["acked"], found["delivered"]) == (1, 0, 2, 2)


def test_ack_comes_before_the_receive(shared: httpx2.Client, queue: str) -> None:
    put(shared, queue, "a", "b", "c")
    first = receive_one(shared, queue)
    answer = shared.post(f"/v1/queues/{queue}/receive", json={"ack": [first["receipt"]], "max_messages": 5}).json()
    assert (answer["acked"], answer["failed"]) == (1, [])
    assert [message["body"] for message in answer["messages"]] == ["b", "c"]
    receipts = [message["receipt"] for message in answer["messages"]]
    again = {"ack": [first["receipt"], *receipts], "auto_ack": True}
    answer = shared.post(f"/v1/queues/{queue}/receive", json=again).json()
    assert answer == {"messages": [], "acked": 2, "failed": [{"receipt": first["receipt"], "code": "gone"}]}
    assert stats(shared, queue)["acked"] == 3


@pytest.mark.parametrize("options", [{}, {"auto_ack": True}])
def test_an_empty_ack_settles_nothing(shared: httpx2.Client, queue: str, options: Json) -> None:
    put(shared, queue, "a")
    answer = shared.post(f"/v1/queues/{queue}/receive", json={"ack": [], **options}).json()
    assert (answer["acked"], answer["failed"], len(answer["messages"])) == (0, [], 1)


def test_ack_does_not_wait_for_a_message(shared: httpx2.Client, queue: str) -> None:
    put(shared, queue, "a")
    first = receive_one(shared, queue)
    with ThreadPoolExecutor(1) as pool:
        options = {"ack": [first["receipt"]], "wait_seconds": 60}
        waiting = pool.submit(shared.post, f"/v1/queues/{queue}/receive", json=options)
        wait_for_waiters(shared, queue, 1)
        assert stats(shared, queue)["acked"] == 1
        put(shared, queue, "b")
        answer = waiting.result(30).json()
    assert (answer["acked"], answer["failed"], answer["messages"][0]["body"]) == (1, [], "b")


@pytest.mark.parametrize("options", [{}, {"wait_seconds": 60}, {"auto_ack": True}])
@pytest.mark.parametrize("ready", [0, 2])
def test_a_malformed_ack_fails_the_call(shared: httpx2.Client, queue: str, options: Json, ready: int) -> None:
    put(shared, queue, "a")
    good = receive_one(shared, queue)["receipt"]
    if ready:
        put(shared, queue, *"xy"[:ready])
    answer = shared.post(f"/v1/queues/{queue}/receive", json={"ack": [good, "bad"], **options})
    assert_problem(answer, 422, "invalid-request", field="ack", index=1)
    assert answer.json()["detail"] == "ack: must hold receipts of this broker only"
    found = stats(shared, queue)
    assert (found["acked"], found["ready"], found["leased"], found["consumers_waiting"]) == (0, ready, 1, 0)
    assert {message["delivery_count"] for message in receive(shared, queue, max_messages=9)} == (
        {1} if ready else set()
    )


def test_a_body_that_is_not_text_comes_in_base64(shared: httpx2.Client, queue: str) -> None:
    bodies = [b"\xff\xfe", 'text\x00 \u2028 \U0001f600 "\\ \x7f'.encode(), b"\xed\xa0\x80", b"\xc0\x80"]
    for body in bodies:
        shared.post(f"/v1/queues/{queue}/messages", content=body)
    messages = receive(shared, queue, max_messages=9)
    assert [set(message) & {"body", "body_base64"} for message in messages] == [
        {"body_base64"},
        {"body"},
        {"body_base64"},
        {"body_base64"},
    ]
    got = [
        message["body"].encode() if "body" in message else base64.b64decode(message["body_base64"])
        for message in messages
    ]
    assert got == bodies


def test_a_large_answer_arrives_whole(shared: httpx2.Client, queue: str) -> None:
    bodies = [chr(ord("a") + number) * 700_000 for number in range(8)]
    put(shared, queue, *bodies)
    assert [message["body"] for message in receive(shared, queue, max_messages=8)] == bodies
    shared.post(f"/v1/queues/{queue}/messages", content=bodies[0].encode())
    assert shared.post(f"/v1/queues/{queue}/receive", headers=RAW).text == bodies[0]


def test_an_answer_is_at_most_16_mib_of_bodies(shared: httpx2.Client, queue: str) -> None:
    for _ in range(18):
        shared.post(f"/v1/queues/{queue}/messages", content=b"x" * 1024 * 1024)
    first = receive(shared, queue, max_messages=18)
    assert 14 <= len(first) <= 16
    assert len(first) + len(receive(shared, queue, max_messages=18)) == 18


def test_the_body_of_a_receive_is_limited(shared: httpx2.Client, queue: str) -> None:
    answer = shared.post(f"/v1/queues/{queue}/receive", content=b" " * (16 * 1024 * 1024 + 1))
    assert_problem(answer, 413, "body-too-large")
    encoded = shared.post(f"/v1/queues/{queue}/receive", content=b"{}", headers={"Content-Encoding": "gzip"})
    assert_problem(encoded, 415, "unsupported-media-type")


def test_waiting_receives_end_empty_at_shutdown(server: Server, http: httpx2.Client) -> None:
    make_queue(http, "q")
    put(http, "q", "x")
    receipt = receive_one(http, "q")["receipt"]
    url = "/v1/queues/q/receive"
    asked: list[dict[str, Any]] = [{}, {"headers": RAW}, {"json": {"ack": [receipt]}}]
    with ThreadPoolExecutor(len(asked)) as pool:
        waiting = [pool.submit(http.post, url, params={"wait_seconds": 60}, **options) for options in asked]
        wait_for_waiters(http, "q", len(asked))
        assert server.stop() == 0
        plain, raw, acked = [future.result(30) for future in waiting]
    assert (plain.status_code, plain.json()) == (200, {"messages": []})
    assert (raw.status_code, raw.content) == (204, b"")
    assert (acked.status_code, acked.json()) == (200, {"messages": [], "acked": 1, "failed": []})


def test_counts_and_receipts_survive_a_crash(server: Server, http: httpx2.Client) -> None:
    make_queue(http, "q")
    put(http, "q", "x", "y")
    held = receive_one(http, "q", lease_seconds=600)
    server.kill()
    server.start()
    with httpx2.Client(base_url=server.url) as again:
        assert [message["body"] for message in receive(again, "q", max_messages=9)] == ["y"]
        assert settle(again, "q", "nack", held["receipt"], delay_seconds=0) == {"nacked": 1, "failed": []}
        second = receive_one(again, "q")
        assert (second["id"], second["delivery_count"], second["failed_count"]) == (held["id"], 2, 1)
        assert json.dumps(second["headers"]) == "{}"
