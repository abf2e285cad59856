"""CloudEvents over HTTP in binary mode: a body, and attributes in `ce-*` headers (§4)."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tests.http.events import BINARY, STRUCTURED, binary
from tests.http.wire import assert_problem, make_exchange, receive, receive_one, stats

Name = Callable[..., str]
Json = dict[str, Any]


def test_a_binary_event_is_its_body_and_its_headers(shared: httpx2.Client, exchange: str, queue: str) -> None:
    headers = {**BINARY, "CE-Time": "2018-04-05T03:56:24Z", "Content-Type": "image/png", "Message-Header-A": "1"}
    answer = binary(shared, f"exchanges/{exchange}", b"\x00\xff", headers)
    assert answer.status_code == 201
    got = shared.post(f"/v1/queues/{queue}/receive", headers={"Accept": "application/octet-stream"})
    assert (got.content, got.headers["content-type"]) == (b"\x00\xff", "image/png")
    assert got.headers["message-routing-key"] == "order.created"
    found = {name[15:]: value for name, value in got.headers.items() if name.startswith("message-header-")}
    assert found == {**BINARY, "ce-time": "2018-04-05T03:56:24Z", "a": "1"}


def test_a_headers_exchange_sees_the_attributes(shared: httpx2.Client, queue: str, name: Name) -> None:
    exchange = make_exchange(shared, name("x"), "headers")
    binding = {"queue": queue, "match": "all", "headers": {"ce-source": "/orders/7", "ce-number": 5}}
    shared.post(f"/v1/exchanges/{exchange}/bindings", json=binding)
    answer = binary(shared, f"exchanges/{exchange}", b"x", {**BINARY, "ce-number": "5"})
    assert answer.json()["queues"] == [queue]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ("%e2%82%ac", "€"),
        ("%61%2525", "a%25"),
        ('"quoted \\"text\\" \\\\ %20"', 'quoted "text" \\  '),
        ('""', ""),
        ('"', '"'),
        ("a b, c", "a b, c"),
        ("a+b", "a+b"),
    ],
)
def test_values_of_headers_are_decoded(shared: httpx2.Client, queue: str, sent: str, kept: str) -> None:
    assert binary(shared, f"queues/{queue}", b"x", {**BINARY, "ce-ext": sent}).status_code == 201
    assert receive_one(shared, queue)["headers"]["ce-ext"] == kept


def test_a_value_may_be_raw_utf8(shared: httpx2.Client, queue: str) -> None:
    headers = [*((name.encode(), value.encode()) for name, value in BINARY.items()), (b"ce-subject", "ü€".encode())]
    assert binary(shared, f"queues/{queue}", b"x", headers).status_code == 201
    assert receive_one(shared, queue)["headers"]["ce-subject"] == "ü€"


@pytest.mark.parametrize(
    ("changes", "status", "field"),
    [
        ({"ce-specversion": None}, 422, "ce-specversion"),
        ({"ce-id": None}, 422, "ce-id"),
        ({"ce-source": None}, 422, "ce-source"),
        ({"ce-type": None}, 422, "ce-type"),
        ({"ce-specversion": "0.3"}, 422, "ce-specversion"),
        ({"ce-id": ""}, 422, "ce-id"),
        ({"ce-source": "%20"}, 422, "ce-source"),
        ({"ce-type": '""'}, 422, "ce-type"),
        ({"ce-type": "t" * 256}, 422, "type"),
        ({"ce-time": "now"}, 422, "ce-time"),
        ({"ce-subject": ""}, 422, "ce-subject"),
        ({"ce-dataschema": "x"}, 422, "ce-dataschema"),
        ({"ce-datacontenttype": "text/plain"}, 422, "ce-datacontenttype"),
        ({"ce-data": "x"}, 422, "ce-data"),
        ({"ce-data_base64": "AA=="}, 422, "ce-data_base64"),
        ({"ce-ext-one": "x"}, 422, "ce-ext-one"),
        ({"ce-": "x"}, 422, "ce-"),
        ({"ce-ext": "%00"}, 422, "ce-ext"),
        ({"ce-ext": "%"}, 400, None),
        ({"ce-ext": "%C0%A0"}, 400, None),
        ({"ce-ext": "%FF"}, 400, None),
        ({"Message-Header-ce-id": "e1"}, 422, "ce-id"),
        ({"ce-ext": "x" * 16 * 1024}, 422, "headers"),
    ],
)
def test_a_malformed_binary_event_is_refused(
    shared: httpx2.Client, exchange: str, queue: str, changes: Json, status: int, field: str | None
) -> None:
    headers = {name: value for name, value in {**BINARY, **changes}.items() if value is not None}
    code = "invalid-request" if status == 422 else "malformed-request"
    assert_problem(binary(shared, f"exchanges/{exchange}", b"x", headers), status, code, field=field)
    assert stats(shared, queue)["published"] == 0


def test_an_attribute_given_twice_is_refused(shared: httpx2.Client, queue: str) -> None:
    headers = [*BINARY.items(), ("ce-id", "e1")]
    assert_problem(binary(shared, f"queues/{queue}", b"x", headers), 422, "invalid-request", field="ce-id")


def test_what_only_looks_like_an_event_is_left_alone(shared: httpx2.Client, queue: str) -> None:
    """Other formats are bytes to us; so is an envelope's content type."""
    for kind in ("application/cloudevents+avro", "application/cloudevents", "application/json"):
        assert shared.post(
            f"/v1/queues/{queue}/messages", content=b"no event", headers={"Content-Type": kind, "cex-id": "1"}
        ).is_success
    envelope = {"content_type": STRUCTURED, "body": "no event", "headers": {"ce-id": ""}}
    assert shared.post(f"/v1/queues/{queue}/messages/batch", json={"messages": [envelope]}).status_code == 201
    assert [message["body"] for message in receive(shared, queue, max_messages=9)] == ["no event"] * 4
