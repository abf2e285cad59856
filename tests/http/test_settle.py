"""Ack, nack and extend on the wire (§6)."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tests.http.wire import Json, assert_problem, make_queue, put, receive, receive_one, settle, stats

Name = Callable[..., str]
VERBS = {"ack": "acked", "nack": "nacked", "extend": "extended"}
LEASE = {"extend": {"lease_seconds": 60}}


def call(http: httpx2.Client, queue: str, verb: str, *receipts: str, **others: Any) -> Json:
    return settle(http, queue, verb, *receipts, **{**LEASE.get(verb, {}), **others})


def test_acked_messages_are_gone_for_good(shared: httpx2.Client, queue: str) -> None:
    put(shared, queue, "a", "b", "c")
    receipts = [message["receipt"] for message in receive(shared, queue, max_messages=2)]
    assert settle(shared, queue, "ack", *receipts) == {"acked": 2, "failed": []}
    found = stats(shared, queue)
    assert (found["acked"], found["leased"], found["ready"]) == (2, 0, 1)
    assert [message["body"] for message in receive(shared, queue, max_messages=9)] == ["c"]


def test_an_ack_again_is_harmless(shared: httpx2.Client, queue: str) -> None:
    put(shared, queue, "a")
    receipt = receive_one(shared, queue)["receipt"]
    settle(shared, queue, "ack", receipt)
    for verb, done in VERBS.items():
        answer = call(shared, queue, verb, receipt)
        assert (answer[done], answer["failed"]) == (0, [{"receipt": receipt, "code": "gone"}])


def test_a_receipt_given_twice_counts_once(shared: httpx2.Client, queue: str) -> None:
    put(shared, queue, "a")
    receipt = receive_one(shared, queue)["receipt"]
    assert call(shared, queue, "extend", receipt, receipt)["extended"] == 1
    assert settle(shared, queue, "ack", receipt, receipt) == {"acked": 1, "failed": []}


@pytest.mark.parametrize("verb", VERBS)
def test_a_receipt_is_lost_once_the_message_was_given_back(shared: httpx2.Client, queue: str, verb: str) -> None:
    put(shared, queue, "a")
    first = receive_one(shared, queue)["receipt"]
    settle(shared, queue, "nack", first, delay_seconds=0)
    lost = [{"receipt": first, "code": "lease-lost"}]
    answer = call(shared, queue, verb, first)
    assert (answer[VERBS[verb]], answer["failed"]) == (0, lost)
    second = receive_one(shared, queue)["receipt"]
    assert call(shared, queue, verb, first)["failed"] == lost
    assert settle(shared, queue, "ack", second) == {"acked": 1, "failed": []}


@pytest.mark.parametrize("verb", VERBS)
def test_another_queue_s_receipt_is_gone(shared: httpx2.Client, queue: str, name: Name, verb: str) -> None:
    other = make_queue(shared, name("other"))
    put(shared, queue, "a")
    receipt = receive_one(shared, queue)["receipt"]
    assert call(shared, other, verb, receipt)["failed"] == [{"receipt": receipt, "code": "gone"}]
    assert settle(shared, queue, "ack", receipt)["acked"] == 1


def test_good_and_bad_receipts_are_told_apart(shared: httpx2.Client, queue: str) -> None:
    put(shared, queue, "a", "b", "c")
    one, two, three = [message["receipt"] for message in receive(shared, queue, max_messages=3)]
    settle(shared, queue, "ack", one)
    settle(shared, queue, "nack", two)
    answer = settle(shared, queue, "ack", two, three, one)
    assert answer["acked"] == 1
    assert answer["failed"] == [{"receipt": two, "code": "lease-lost"}, {"receipt": one, "code": "gone"}]


def test_a_nack_gives_back_and_counts(shared: httpx2.Client, queue: str) -> None:
    put(shared, queue, "a", "b")
    first = receive_one(shared, queue)
    assert settle(shared, queue, "nack", first["receipt"], reason="a\nreason") == {"nacked": 1, "failed": []}
    again = receive_one(shared, queue)
    assert (again["id"], again["delivery_count"], again["failed_count"]) == (first["id"], 2, 1)
    assert settle(shared, queue, "nack", again["receipt"], delivery_failed=False, requeue=None)["nacked"] == 1
    third = receive_one(shared, queue)
    assert (third["id"], third["delivery_count"], third["failed_count"]) == (first["id"], 3, 1)
    assert stats(shared, queue)["nacked"] == 2


def test_a_nack_with_a_delay_comes_back_later(shared: httpx2.Client, queue: str) -> None:
    put(shared, queue, "a", "b")
    first, second = (message["receipt"] for message in receive(shared, queue, max_messages=2))
    settle(shared, queue, "nack", first, delay_seconds=3600)
    assert receive(shared, queue) == []
    settle(shared, queue, "nack", second, delay_seconds=0.2)
    again = receive_one(shared, queue)
    assert (again["body"], again["delivery_count"]) == ("b", 2)
    assert stats(shared, queue)["delayed"] == 1


def test_an_extend_counts_from_now(shared: httpx2.Client, queue: str) -> None:
    put(shared, queue, "a", "b")
    messages = receive(shared, queue, max_messages=2, lease_seconds=5)
    answer = settle(shared, queue, "extend", *[message["receipt"] for message in messages], lease_seconds=600.5)
    assert list(answer) == ["extended", "lease_expires_at", "failed"]
    assert answer["extended"] == 2
    assert answer["lease_expires_at"] > messages[0]["lease_expires_at"]
    shortened = settle(shared, queue, "extend", messages[0]["receipt"], lease_seconds=0.1)
    assert shortened["lease_expires_at"] < messages[0]["lease_expires_at"]
    assert receive_one(shared, queue)["id"] == messages[0]["id"]


@pytest.mark.parametrize("verb", VERBS)
def test_a_malformed_receipt_settles_nothing(shared: httpx2.Client, queue: str, verb: str) -> None:
    put(shared, queue, "a")
    receipt = receive_one(shared, queue)["receipt"]
    wrong = receipt[:-3] + ("A" if receipt[-3] != "A" else "B") + receipt[-2:]
    for bad in ("", "x", "\U0001f600", "x" * 5000, wrong[5:], receipt.replace(".", ".0x"), f"{receipt} "):
        answer = shared.post(f"/v1/queues/{queue}/{verb}", json={"receipts": [receipt, bad], **LEASE.get(verb, {})})
        assert_problem(answer, 422, "invalid-request", field="receipts", index=1)
        assert answer.json()["detail"] == "receipts: must hold receipts of this broker only"
    assert settle(shared, queue, "ack", receipt)["acked"] == 1


def test_no_receipts_are_as_good_as_some(shared: httpx2.Client, queue: str) -> None:
    """A consumer that has nothing to settle just now needs no case of its own."""
    assert settle(shared, queue, "ack") == {"acked": 0, "failed": []}
    assert settle(shared, queue, "nack") == {"nacked": 0, "failed": []}
    extended = settle(shared, queue, "extend", lease_seconds=60)
    assert (extended["extended"], extended["failed"]) == (0, [])
    answer = shared.post("/v1/queues/nowhere/ack", json={"receipts": []})
    assert_problem(answer, 404, "queue-not-found")


@pytest.mark.parametrize(
    ("verb", "fields", "field"),
    [
        *((verb, {}, "receipts") for verb in VERBS),
        *((verb, {"receipts": "x"}, "receipts") for verb in VERBS),
        *((verb, {"receipts": [None]}, "receipts") for verb in VERBS),
        *((verb, {"receipts": ["x"] * 1001}, "receipts") for verb in VERBS),
        *((verb, {"receipts": ["x"], "colour": 1}, "colour") for verb in VERBS),
        ("ack", {"receipts": ["x"], "requeue": True}, "requeue"),
        ("nack", {"receipts": ["x"], "requeue": 1}, "requeue"),
        ("nack", {"receipts": ["x"], "delivery_failed": "no"}, "delivery_failed"),
        ("nack", {"receipts": ["x"], "delay_seconds": -1}, "delay_seconds"),
        ("nack", {"receipts": ["x"], "delay_seconds": 31622401}, "delay_seconds"),
        ("nack", {"receipts": ["x"], "delay_seconds": False}, "delay_seconds"),
        ("nack", {"receipts": ["x"], "reason": 5}, "reason"),
        ("nack", {"receipts": ["x"], "reason": "é" * 513}, "reason"),
        ("extend", {"receipts": ["x"]}, "lease_seconds"),
        ("extend", {"receipts": ["x"], "lease_seconds": None}, "lease_seconds"),
        ("extend", {"receipts": ["x"], "lease_seconds": 0}, "lease_seconds"),
        ("extend", {"receipts": ["x"], "lease_seconds": 43201}, "lease_seconds"),
        ("extend", {"receipts": ["x"], "lease_seconds": "60"}, "lease_seconds"),
    ],
)
def test_a_bad_field_is_invalid(shared: httpx2.Client, queue: str, verb: str, fields: Json, field: str) -> None:
    others = {} if field == "lease_seconds" else LEASE.get(verb, {})
    answer = shared.post(f"/v1/queues/{queue}/{verb}", json={**others, **fields})
    assert_problem(answer, 422, "invalid-request", field=field)


@pytest.mark.parametrize("verb", VERBS)
def test_what_every_call_refuses(shared: httpx2.Client, queue: str, verb: str) -> None:
    url = f"/v1/queues/{queue}/{verb}"
    good = {"receipts": ["x"], **LEASE.get(verb, {})}
    assert_problem(shared.post(url, content=b"{"), 400, "malformed-request")
    assert_problem(shared.post(url, content=b'{"receipts":["\\ud800"]}'), 400, "malformed-request")
    assert_problem(shared.post(url, content=b"[]"), 422, "invalid-request")
    assert_problem(shared.post(f"{url}?receipts=x", json=good), 422, "invalid-request", field="receipts")
    assert_problem(shared.post(url, json=good, headers={"Content-Encoding": "gzip"}), 415, "unsupported-media-type")
    assert_problem(shared.post(url, content=b" " * (16 * 1024 * 1024 + 1)), 413, "body-too-large")
    assert_problem(shared.post(f"/v1/queues/nowhere/{verb}", json=good), 404, "queue-not-found")
    assert_problem(shared.post(f"/v1/queues/.x/{verb}", json=good), 422, "invalid-request", field="queue")


def test_a_receipt_settles_after_its_lease_ran_out(shared: httpx2.Client, queue: str) -> None:
    put(shared, queue, "a")
    receipt = receive_one(shared, queue, lease_seconds=0.1)["receipt"]
    # A receive would make the receipt stale: look at the counts until the lease has ended.
    while stats(shared, queue)["leased"]:
        assert stats(shared, queue)["ready"] <= 1
    assert settle(shared, queue, "ack", receipt) == {"acked": 1, "failed": []}
    assert receive(shared, queue) == []
