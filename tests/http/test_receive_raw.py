"""Receiving one message raw, and what else `Accept` decides (§5)."""

import re
from collections.abc import Callable
from urllib.parse import unquote

import httpx2
import pytest

from tests.http.wire import assert_problem, bind, make_exchange, make_queue, put, receive_one, settle, stats

Name = Callable[..., str]
RAW = {"Accept": "application/octet-stream"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def test_raw_mode_gives_one_message_s_bytes(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name("q"), max_priority=9)
    exchange = make_exchange(shared, name("x"))
    bind(shared, exchange, queue)
    query = "routing_key=a%20%C3%BC%25&priority=2&group=g&correlation_id=c%3B1&reply_to=r"
    headers = {"Content-Type": "image/png; q=1", "Message-Header-Tenant": "a b%"}
    url = f"/v1/exchanges/{exchange}/messages?{query}"
    published = shared.post(url, content=b"\x00\xff", headers=headers).json()
    got = shared.post(f"/v1/queues/{queue}/receive?lease_seconds=60", headers=RAW)
    assert got.status_code == 200
    assert got.content == b"\x00\xff"
    assert got.headers["content-type"] == "image/png; q=1"
    found = {key[8:]: value for key, value in got.headers.items() if key.startswith("message-")}
    assert TIME.fullmatch(found.pop("lease-expires-at"))
    assert TIME.fullmatch(found.pop("published-at"))
    receipt = unquote(found.pop("receipt"))
    assert found == {
        "id": published["id"],
        "delivery-count": "1",
        "failed-count": "0",
        "exchange": exchange,
        "routing-key": "a%20%C3%BC%25",
        "priority": "2",
        "group": "g",
        "correlation-id": "c;1",
        "reply-to": "r",
        "header-tenant": "a%20b%25",
    }
    assert settle(shared, queue, "ack", receipt) == {"acked": 1, "failed": []}


def test_raw_mode_shows_header_values_as_json_does(shared: httpx2.Client, queue: str) -> None:
    put(shared, queue, "x", headers={"n": 1.5, "t": True, "s": "é", "e": ""}, content_type='a/b; c="ü"')
    got = shared.post(f"/v1/queues/{queue}/receive", headers=RAW)
    assert [got.headers[f"message-header-{key}"] for key in "ntse"] == ["1.5", "true", "%C3%A9", ""]
    assert dict(got.headers.raw)[b"content-type"] == 'a/b; c="ü"'.encode()
    assert "message-exchange" not in got.headers
    assert "message-group" not in got.headers
    assert "message-expires-at" not in got.headers
    assert "message-deaths" not in got.headers


def test_raw_mode_leaves_out_the_receipt_under_auto_ack(shared: httpx2.Client, queue: str) -> None:
    put(shared, queue, "x")
    got = shared.post(f"/v1/queues/{queue}/receive", headers=RAW, json={"auto_ack": True})
    assert (got.status_code, got.content) == (200, b"x")
    assert "message-receipt" not in got.headers
    assert "message-lease-expires-at" not in got.headers
    assert stats(shared, queue)["acked"] == 1


def test_raw_mode_answers_204_for_nothing(shared: httpx2.Client, queue: str) -> None:
    for query in ("", "?wait_seconds=0.1"):
        got = shared.post(f"/v1/queues/{queue}/receive{query}", headers=RAW)
        assert (got.status_code, got.content) == (204, b"")
        assert got.headers["x-request-id"]


def test_raw_mode_takes_no_ack_and_no_more_than_one(shared: httpx2.Client, queue: str) -> None:
    url = f"/v1/queues/{queue}/receive"
    answer = shared.post(f"{url}?max_messages=2", headers=RAW)
    assert_problem(answer, 422, "invalid-request", field="max_messages")
    assert_problem(shared.post(url, headers=RAW, json={"ack": ["x"]}), 422, "invalid-request", field="ack")
    assert shared.post(f"{url}?max_messages=1", headers=RAW).status_code == 204


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("application/json", "application/json"),
        ("text/html, application/json;q=0.1", "application/json"),
        ("application/octet-stream;q=0.5, application/json", "application/json"),
        ("application/octet-stream, application/json;q=0.5", "text/plain; charset=utf-8"),
        ("text/html, application/octet-stream", "text/plain; charset=utf-8"),
    ],
)
def test_the_answer_comes_as_accepted(shared: httpx2.Client, queue: str, accept: str, kind: str) -> None:
    put(shared, queue, "x")
    answer = shared.post(f"/v1/queues/{queue}/receive", headers={"Accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0, application/octet-stream;q=0", "image/*"])
def test_what_is_not_offered_is_not_acceptable(shared: httpx2.Client, queue: str, accept: str) -> None:
    put(shared, queue, "x")
    answer = shared.post(f"/v1/queues/{queue}/receive", headers={"Accept": accept})
    assert_problem(answer, 406, "not-acceptable")
    assert receive_one(shared, queue)["delivery_count"] == 1
