"""CloudEvents over HTTP, structured and batched: out as they came (§4)."""

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tests.http.events import BATCHED, BINARY, EVENT, STRUCTURED, batched, binary, structured
from tests.http.wire import assert_problem, bind, make_exchange, make_queue, receive, receive_one, stats

Name = Callable[..., str]
Json = dict[str, Any]


# --- structured ------------------------------------------------------------------


ODD = (
    b' {"type":"order.created", "id":"e1",\n"source":"/orders/7",  "specversion":"1.0","ext":1,"id":"e2",'
    b'"data":{"n":1e2, "big":123456789012345678901234567890, "u":"\\u00fc"}, "time":null}\n'
)


def test_a_structured_event_comes_out_as_it_came(shared: httpx2.Client, exchange: str, queue: str) -> None:
    content_type = "Application/CloudEvents+JSON; charset=UTF-8"
    answer = structured(shared, f"exchanges/{exchange}", ODD, headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["queues"]) == (201, [queue])
    got = shared.post(f"/v1/queues/{queue}/receive", headers={"Accept": "application/octet-stream"})
    assert got.content == ODD
    assert got.headers["content-type"] == content_type
    # Its type is the routing key.
    assert got.headers["message-routing-key"] == "order.created"
    assert not [name for name in got.headers if name.startswith("message-header-")]


def test_a_routing_key_that_is_given_goes_before_the_type(shared: httpx2.Client, exchange: str, queue: str) -> None:
    for given in ("given", ""):
        structured(shared, f"exchanges/{exchange}", EVENT, params={"routing_key": given})
        binary(shared, f"exchanges/{exchange}", b"x", BINARY, routing_key=given)
        assert [m["routing_key"] for m in receive(shared, queue, max_messages=9)] == [given, given]
    # Then the type may be longer than a key.
    long = {**EVENT, "type": "t" * 256}
    assert structured(shared, f"exchanges/{exchange}", long, params={"routing_key": "r"}).status_code == 201
    assert_problem(structured(shared, f"exchanges/{exchange}", long), 422, "invalid-request", field="type")


def test_the_type_routes(shared: httpx2.Client, name: Name) -> None:
    exchange, created, paid = make_exchange(shared, name("x")), make_queue(shared, name()), make_queue(shared, name())
    bind(shared, exchange, created, "*.created")
    bind(shared, exchange, paid, "*.paid")
    paid_event = {**EVENT, "type": "order.paid"}
    for answer in (
        structured(shared, f"exchanges/{exchange}", paid_event),
        binary(shared, f"exchanges/{exchange}", b"", {**BINARY, "ce-type": "order.paid"}),
        batched(shared, f"exchanges/{exchange}", [paid_event]),
    ):
        result = answer.json()
        assert result.get("results", [result])[0]["queues"] == [paid]
    assert receive(shared, created) == []


def test_straight_into_a_queue(shared: httpx2.Client, queue: str) -> None:
    into = f"queues/{queue}"
    # No routing key is asked for, so the type may be as long as it likes.
    assert structured(shared, into, {**EVENT, "type": "t" * 300}).status_code == 201
    assert binary(shared, into, b"\x00", BINARY).status_code == 201
    assert batched(shared, into, [EVENT]).status_code == 201
    messages = receive(shared, queue, max_messages=9)
    assert [message["routing_key"] for message in messages] == [queue] * 3
    assert [message["content_type"] for message in messages] == [STRUCTURED, "application/octet-stream", STRUCTURED]


def test_events_have_the_properties_of_any_message(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name("q"), max_priority=5)
    into = f"queues/{queue}"
    query = {"priority": 2, "group": "g", "correlation_id": "c", "ttl_seconds": 60}
    headers = {"Message-Header-Tenant": "acme", "Idempotency-Key": "k"}
    first = structured(shared, into, EVENT, params=query, headers=headers)
    again = structured(shared, into, EVENT, params=query, headers=headers)
    assert (again.status_code, again.json()) == (200, {**first.json(), "duplicate": True})
    assert_problem(
        structured(shared, into, {**EVENT, "id": "e2"}, params=query, headers=headers), 422, "idempotency-key-reused"
    )
    message = receive_one(shared, queue)
    assert (message["priority"], message["group"], message["correlation_id"]) == (2, "g", "c")
    assert message["headers"] == {"tenant": "acme"}
    assert message["expires_at"]


def test_all_that_the_specification_allows(shared: httpx2.Client, queue: str) -> None:
    for more in (
        {"data": None},
        {"data": [1, {"Any_Name": "x"}]},
        {"data": "text", "datacontenttype": "text/plain; charset=utf-8"},
        {"data_base64": "/w==", "datacontenttype": "application/vnd.x.y+z"},
        {"data_base64": "", "dataschema": "https://example.com/schema.json#v1"},
        {"data_base64": None, "data": 1},
        {"time": "2018-04-05T17:31:00Z"},
        {"time": "2018-04-05t17:31:60.123456789+05:30"},
        {"time": None, "subject": None, "datacontenttype": None, "unset": None},
        {"subject": "blob ü.jpg", "source": "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66"},
        {"source": "https://github.com/cloudevents?a=b#c", "source2": "mailto:x@y"},
        {"source": "../x%20y", "text": "", "flag": True, "least": -(2**31), "most": 2**31 - 1},
    ):
        answer = structured(shared, f"queues/{queue}", {**EVENT, **more})
        assert answer.status_code == 201, (more, answer.text)


BAD_ATTRIBUTES = [
    ({"specversion": None}, "specversion"),
    ({"id": None}, "id"),
    ({"source": None}, "source"),
    ({"type": None}, "type"),
    ({"specversion": "0.3"}, "specversion"),
    ({"specversion": "1"}, "specversion"),
    ({"specversion": 1.0}, "specversion"),
    ({"id": ""}, "id"),
    ({"id": 7}, "id"),
    ({"source": ""}, "source"),
    ({"source": "a b"}, "source"),
    ({"source": "/%zz"}, "source"),
    ({"source": "/ü"}, "source"),
    ({"type": ""}, "type"),
    ({"type": ["t"]}, "type"),
    ({"type": "a\nb"}, "type"),
    ({"subject": ""}, "subject"),
    ({"subject": True}, "subject"),
    ({"time": "yesterday"}, "time"),
    ({"time": "2018-04-05"}, "time"),
    ({"time": "2018-13-05T17:31:00Z"}, "time"),
    ({"time": "2018-04-05T17:31:00"}, "time"),
    ({"time": 1522949460}, "time"),
    ({"datacontenttype": "json"}, "datacontenttype"),
    ({"datacontenttype": ""}, "datacontenttype"),
    ({"dataschema": "relative"}, "dataschema"),
    ({"dataschema": ""}, "dataschema"),
    ({"ext": 1.5}, "ext"),
    ({"ext": 2**31}, "ext"),
    ({"ext": -(2**31) - 1}, "ext"),
    ({"ext": {}}, "ext"),
    ({"ext": []}, "ext"),
    ({"ext": "a\x00"}, "ext"),
    ({"ext": "\x9f"}, "ext"),
    ({"ext": "\ufffe"}, "ext"),
    ({"Ext": "x"}, "Ext"),
    ({"ext_one": "x"}, "ext_one"),
    ({"ext-one": "x"}, "ext-one"),
    ({"": "x"}, ""),
    ({"é": "x"}, "é"),
    ({"data": 1, "data_base64": "AA=="}, "data_base64"),
    ({"data": None, "data_base64": "AA=="}, "data_base64"),
    ({"data_base64": "?"}, "data_base64"),
    ({"data_base64": "AA"}, "data_base64"),
    ({"data_base64": 1}, "data_base64"),
]


@pytest.mark.parametrize(("changes", "field"), BAD_ATTRIBUTES)
def test_a_malformed_event_is_refused(shared: httpx2.Client, queue: str, changes: Json, field: str) -> None:
    bad = {**EVENT, **changes}
    assert_problem(structured(shared, f"queues/{queue}", bad), 422, "invalid-request", field=field, index=None)
    answer = batched(shared, f"queues/{queue}", [EVENT, bad, EVENT])
    assert_problem(answer, 422, "invalid-request", field=field, index=1)
    assert stats(shared, queue)["published"] == 0


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 400, "malformed-request"),
        (b"{", 400, "malformed-request"),
        (b'{"id": "\xff"}', 400, "malformed-request"),
        (b'{"id": "\\ud800"}', 400, "malformed-request"),
        (b"\xef\xbb\xbf{}", 400, "malformed-request"),
        (b"[]", 422, "invalid-request"),
        (b"null", 422, "invalid-request"),
        (b"{}", 422, "invalid-request"),
        (json.dumps([EVENT]).encode(), 422, "invalid-request"),
        (json.dumps({**EVENT, "data": "x" * 1024 * 1024}).encode(), 413, "body-too-large"),
    ],
)
def test_what_is_no_structured_event(shared: httpx2.Client, queue: str, content: bytes, status: int, code: str) -> None:
    assert_problem(structured(shared, f"queues/{queue}", content), status, code)
    assert stats(shared, queue)["published"] == 0


def test_a_structured_event_may_have_headers_that_agree_with_it(shared: httpx2.Client, queue: str) -> None:
    event = {**EVENT, "flag": True, "number": -7, "subject": "ü"}
    headers = {**BINARY, "ce-flag": "true", "ce-number": "-7", "ce-subject": "%C3%BC"}
    assert structured(shared, f"queues/{queue}", event, headers=headers).status_code == 201
    message = receive_one(shared, queue)
    assert message["headers"] == {**BINARY, "ce-flag": "true", "ce-number": "-7", "ce-subject": "ü"}
    for name, value in (("ce-id", "other"), ("ce-flag", "True"), ("ce-time", "2018-04-05T17:31:00Z")):
        answer = structured(shared, f"queues/{queue}", event, headers={name: value})
        assert_problem(answer, 422, "invalid-request", field=name)


# --- batched ---------------------------------------------------------------------


@pytest.mark.parametrize("path", ["messages", "messages/batch"])
def test_each_event_of_a_batch_is_a_message(shared: httpx2.Client, exchange: str, queue: str, path: str) -> None:
    other = b'{"specversion":"1.0","id":"2","source":"s","type":"b","data":"],[{\\"}"}'
    content = b" [ " + ODD.strip() + b"\t,\r\n" + other + b" ] "
    answer = batched(shared, f"exchanges/{exchange}", content, path)
    assert answer.status_code == 201, answer.text
    results = answer.json()["results"]
    messages = receive(shared, queue, max_messages=9)
    # Each in the bytes in which it stood in the batch.
    assert [message["body"] for message in messages] == [ODD.decode().strip(), other.decode()]
    assert [message["content_type"] for message in messages] == [STRUCTURED] * 2
    assert [message["routing_key"] for message in messages] == ["order.created", "b"]
    assert [message["id"] for message in messages] == [result["id"] for result in results]
    assert [result["queues"] for result in results] == [[queue]] * 2


def test_a_batch_takes_options_and_a_key(shared: httpx2.Client, exchange: str, queue: str) -> None:
    url = f"/v1/exchanges/{exchange}/messages?routing_key=r&group=g"
    headers = {"Content-Type": BATCHED, "Idempotency-Key": "k"}
    first = shared.post(url, json=[EVENT, EVENT], headers=headers)
    again = shared.post(url, json=[EVENT, EVENT], headers=headers)
    assert (again.status_code, again.json()) == (200, {**first.json(), "duplicate": True})
    messages = receive(shared, queue, max_messages=9)
    assert [(message["routing_key"], message["group"]) for message in messages] == [("r", "g")] * 2


def test_an_empty_batch_stores_nothing(shared: httpx2.Client, queue: str, name: Name) -> None:
    """The specification allows it."""
    answer = batched(shared, f"queues/{queue}", [])
    assert (answer.status_code, answer.json()) == (200, {"results": []})
    assert_problem(batched(shared, f"queues/{name()}", []), 404, "queue-not-found")


def test_limits_of_batches(shared: httpx2.Client, queue: str) -> None:
    into = f"queues/{queue}"
    assert_problem(batched(shared, into, [EVENT] * 1001), 422, "invalid-request", field="events")
    assert len(batched(shared, into, [EVENT] * 1000).json()["results"]) == 1000
    large = {**EVENT, "data": "x" * 1024 * 1024}
    for path in ("messages", "messages/batch"):
        assert_problem(batched(shared, into, [EVENT, large], path), 413, "body-too-large", index=1)
    # Many together may be larger than one alone.
    half = {**EVENT, "data": "x" * 600_000}
    assert batched(shared, into, [half] * 10, "messages").status_code == 201


@pytest.mark.parametrize(
    ("content", "status", "code", "index"),
    [
        (b"", 400, "malformed-request", None),
        (b"[", 400, "malformed-request", None),
        (b'[{"a":1},]', 400, "malformed-request", None),
        (b"{}", 422, "invalid-request", None),
        (json.dumps(EVENT).encode(), 422, "invalid-request", None),
        (json.dumps({"messages": [{"body": "x"}]}).encode(), 422, "invalid-request", None),
        (json.dumps([EVENT, None]).encode(), 422, "invalid-request", 1),
        (json.dumps([[EVENT]]).encode(), 422, "invalid-request", 0),
    ],
)
def test_what_is_no_batch(
    shared: httpx2.Client, queue: str, content: bytes, status: int, code: str, index: int | None
) -> None:
    assert_problem(batched(shared, f"queues/{queue}", content), status, code, index=index)
    assert stats(shared, queue)["published"] == 0


@pytest.mark.parametrize("depth", [100, 900, 1010])
def test_deep_data(shared: httpx2.Client, queue: str, depth: int) -> None:
    """It is taken, or refused; never a fault of the broker's."""
    data = b"[" * depth + b"]" * depth
    content = json.dumps(EVENT).encode()[:-1] + b',"data":' + data + b"}"
    answer = batched(shared, f"queues/{queue}", b"[" + content + b"]")
    if answer.status_code == 201:
        assert receive_one(shared, queue)["body"] == content.decode()
    else:
        assert answer.status_code in (400, 422)
    assert depth > 100 or answer.status_code == 201


def test_one_event_or_headers_are_no_batch(shared: httpx2.Client, queue: str) -> None:
    url = f"/v1/queues/{queue}/messages/batch"
    answer = shared.post(url, json=EVENT, headers={"Content-Type": STRUCTURED})
    assert_problem(answer, 422, "invalid-request", field="Content-Type")
    for kind in ("application/json", BATCHED):
        answer = shared.post(url, json=[], headers={"Content-Type": kind, "ce-id": "1"})
        assert_problem(answer, 422, "invalid-request", field="headers")
