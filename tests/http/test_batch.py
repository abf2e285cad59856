"""Publishing many messages on the wire, all or none (§4)."""

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tests.http.wire import (
    assert_problem,
    bind,
    connect,
    make_exchange,
    put,
    read_answer,
    receive,
    request_bytes,
)
from tests.support.server import Server

Name = Callable[..., str]
NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.fixture
def exchange(shared: httpx2.Client, name: Name, queue: str) -> str:
    """A topic exchange bound to `queue` for `in.#`."""
    made = make_exchange(shared, name("x"))
    bind(shared, made, queue, "in.#")
    return made


def bodies(http: httpx2.Client, queue: str) -> list[str]:
    return [message["body"] for message in receive(http, queue, max_messages=1000)]


def test_results_come_in_order(shared: httpx2.Client, exchange: str, queue: str) -> None:
    messages: list[dict[str, Any]] = [
        {"routing_key": "in.a", "body": "text ü", "headers": {"N": 1, "t": True, "s": "x", "f": 1.5}},
        {"routing_key": "elsewhere", "body": "lost"},
        {"routing_key": "in", "body_base64": "/w==", "content_type": "image/x"},
        {"routing_key": "in.c", "json": {"b": [1, None], "a": "é"}, "correlation_id": "c", "group": None},
    ]
    answer = shared.post(f"/v1/exchanges/{exchange}/messages/batch", json={"messages": messages})
    assert answer.status_code == 201, answer.text
    results = answer.json()["results"]
    assert [result["queues"] for result in results] == [[queue], [], [queue], [queue]]
    assert len({result["id"] for result in results}) == 4
    first, second, third = receive(shared, queue, max_messages=10)
    assert [first["id"], second["id"], third["id"]] == [results[index]["id"] for index in (0, 2, 3)]
    assert (first["body"], first["content_type"]) == ("text ü", "text/plain; charset=utf-8")
    assert first["headers"] == {"n": 1, "t": True, "s": "x", "f": 1.5}
    assert (second["body_base64"], second["content_type"], "body" in second) == ("/w==", "image/x", False)
    assert (third["body"], third["content_type"]) == ('{"b":[1,null],"a":"é"}', "application/json")
    assert third["correlation_id"] == "c"


@pytest.mark.parametrize("content_type", ["application/x-ndjson", "Application/X-NDJSON; charset=utf-8"])
def test_ndjson_is_one_envelope_a_line(shared: httpx2.Client, queue: str, content_type: str) -> None:
    lines = b'{"body":"a"}\n\n{"body": "b"}\r\n{"json":[1,\t2]}'
    url = f"/v1/queues/{queue}/messages/batch"
    answer = shared.post(url, content=lines, headers={"Content-Type": content_type})
    assert answer.status_code == 201, answer.text
    assert len(answer.json()["results"]) == 3
    assert bodies(shared, queue) == ["a", "b", "[1,2]"]


@pytest.mark.parametrize("content_type", ["text/plain", "application/json", "application/xml", ""])
def test_any_other_type_is_read_as_json(shared: httpx2.Client, queue: str, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    url = f"/v1/queues/{queue}/messages/batch"
    assert shared.post(url, content=b'{"messages":[{"body":"a"}]}', headers=headers).status_code == 201


@pytest.mark.parametrize("ndjson", [False, True])
@pytest.mark.parametrize(
    ("envelope", "status", "code", "field"),
    [
        ({"body": "x", "colour": 1}, 422, "invalid-request", "colour"),
        ({"body": "x", "priority": True}, 422, "invalid-request", "priority"),
        ({"body": "x", "routing_key": "a"}, 422, "invalid-request", "routing_key"),
        ({"body": "x", "json": 1}, 422, "invalid-request", "body"),
        ({}, 422, "invalid-request", "body"),
        ({"body_base64": "!"}, 422, "invalid-request", "body_base64"),
        (["x"], 422, "invalid-request", "messages"),
        ({"body": "x" * (1024 * 1024 + 1)}, 413, "body-too-large", None),
    ],
)
def test_one_bad_envelope_stores_nothing(
    shared: httpx2.Client, queue: str, ndjson: bool, envelope: Any, status: int, code: str, field: str | None
) -> None:
    url = f"/v1/queues/{queue}/messages/batch"
    items = [{"body": "good"}, {"body": "good"}, envelope, {"body": "good"}]
    if ndjson:
        answer = shared.post(url, content="\n".join(map(json.dumps, items)), headers=NDJSON)
    else:
        answer = shared.post(url, json={"messages": items})
    assert_problem(answer, status, code, index=2, field=field)
    assert bodies(shared, queue) == []


def test_one_unroutable_envelope_stores_nothing(shared: httpx2.Client, exchange: str, queue: str) -> None:
    items = [{"routing_key": "in", "body": "x"}, {"routing_key": "out", "body": "x", "mandatory": True}]
    answer = shared.post(f"/v1/exchanges/{exchange}/messages/batch", json={"messages": items})
    assert_problem(answer, 422, "unroutable", index=1)
    assert bodies(shared, queue) == []


def test_an_unknown_target_is_not_found(shared: httpx2.Client) -> None:
    good = {"messages": [{"body": "x"}]}
    assert_problem(shared.post("/v1/exchanges/nowhere/messages/batch", json=good), 404, "exchange-not-found")
    assert_problem(shared.post("/v1/queues/nowhere/messages/batch", json=good), 404, "queue-not-found")


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        (b"", 422, "invalid-request", "messages"),
        (b"{}", 422, "invalid-request", "messages"),
        (b'{"messages":[]}', 422, "invalid-request", "messages"),
        (b'{"messages":{}}', 422, "invalid-request", "messages"),
        (b'{"messages":[{"body":"x"}],"mandatory":true}', 422, "invalid-request", "mandatory"),
        (b"[]", 422, "invalid-request", None),
        (b'{"messages":[', 400, "malformed-request", None),
        (b'{"messages":[{"body":"\xff"}]}', 400, "malformed-request", None),
        (b'{"messages":[{"body":"\\ud800"}]}', 400, "malformed-request", None),
    ],
)
def test_a_bad_batch_is_refused(
    shared: httpx2.Client, queue: str, body: bytes, status: int, code: str, field: str | None
) -> None:
    answer = shared.post(f"/v1/queues/{queue}/messages/batch", content=body)
    assert_problem(answer, status, code, field=field, index=None)


def test_a_line_that_is_not_json_is_malformed(shared: httpx2.Client, queue: str) -> None:
    url = f"/v1/queues/{queue}/messages/batch"
    assert_problem(shared.post(url, content=b'{"body":"a"}\nx', headers=NDJSON), 400, "malformed-request", index=1)
    assert_problem(shared.post(url, content=b"\n", headers=NDJSON), 422, "invalid-request", field="messages")
    assert bodies(shared, queue) == []


def test_a_thousand_is_the_most(shared: httpx2.Client, queue: str) -> None:
    url = f"/v1/queues/{queue}/messages/batch"
    answer = shared.post(url, json={"messages": [{"body": "x"}] * 1001})
    assert_problem(answer, 422, "invalid-request", field="messages")
    assert bodies(shared, queue) == []
    sent = [str(number) for number in range(1000)]
    put(shared, queue, *sent)
    assert bodies(shared, queue) == sent


def test_a_request_too_large_is_refused_before_it_comes(shared_server: Server, queue: str) -> None:
    with connect(shared_server.url) as connection:
        headers = {"Content-Length": str(16 * 1024 * 1024 + 1)}
        connection.sendall(request_bytes(f"/v1/queues/{queue}/messages/batch", b"", headers))
        answer = read_answer(connection)
    assert answer is not None
    assert answer[0] == 413


def test_options_of_the_query_hold_for_all(shared: httpx2.Client, exchange: str, queue: str) -> None:
    url = f"/v1/exchanges/{exchange}/messages/batch?routing_key=in.q&correlation_id=c"
    items = [{"body": "a"}, {"body": "b", "correlation_id": "c"}, {"body": "c", "routing_key": None}]
    assert shared.post(url, json={"messages": items}).status_code == 201
    got = receive(shared, queue, max_messages=9)
    assert [(message["routing_key"], message["correlation_id"]) for message in got] == [("in.q", "c")] * 3
    answer = shared.post(url, json={"messages": [{"body": "a"}, {"body": "b", "routing_key": "in.other"}]})
    assert_problem(answer, 422, "invalid-request", field="routing_key", index=1)
    assert_problem(shared.post(f"{url}&x=1", json={"messages": items}), 422, "invalid-request", field="x")
    assert bodies(shared, queue) == []


@pytest.mark.parametrize(
    ("headers", "status", "code", "field"),
    [
        ({"Message-Header-A": "x"}, 422, "invalid-request", "headers"),
        ({"Content-Encoding": "gzip"}, 415, "unsupported-media-type", None),
        ({"Idempotency-Key": "x" * 256}, 422, "invalid-request", "idempotency_key"),
    ],
)
def test_headers_that_a_batch_cannot_have(
    shared: httpx2.Client, queue: str, headers: dict[str, str], status: int, code: str, field: str | None
) -> None:
    url = f"/v1/queues/{queue}/messages/batch"
    answer = shared.post(url, json={"messages": [{"body": "x"}]}, headers=headers)
    assert_problem(answer, status, code, field=field)
    assert bodies(shared, queue) == []
