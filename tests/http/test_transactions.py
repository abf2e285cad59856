"""Transactions on the wire: acks, nacks and publishes, all of them or none (§7)."""

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tests.http.transacting import URL, counts, lease, transact
from tests.http.wire import (
    assert_problem,
    bind,
    make_exchange,
    make_queue,
    put,
    receive,
    receive_one,
    settle,
    stats,
)

Name = Callable[..., str]
Json = dict[str, Any]


# --- doing ------------------------------------------------------------------------


def test_consume_process_publish(shared: httpx2.Client, queue: str, out: str, name: Name) -> None:
    exchange = make_exchange(shared, name("x"))
    bind(shared, exchange, out, "done.*")
    one, two, three = lease(shared, queue, "1", "2", "3")
    answer = transact(
        shared,
        acks=[{"queue": queue, "receipts": [one]}],
        nacks=[{"queue": queue, "receipts": [two, three], "delay_seconds": 0}],
        publishes=[
            {"exchange": exchange, "routing_key": "done.1", "json": {"n": 1}, "headers": {"a": 1}, "priority": 1},
            {"exchange": exchange, "routing_key": "nowhere", "body": "lost"},
            {"queue": out, "body_base64": "/w==", "content_type": "image/png", "group": "g"},
        ],
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert (answer.json()["acked"], answer.json()["nacked"]) == (1, 2)
    results = answer.json()["results"]
    assert [result["queues"] for result in results] == [[out], [], [out]]
    assert len({result["id"] for result in results}) == 3
    first, second = receive(shared, out, max_messages=9)
    assert [first["id"], second["id"]] == [results[0]["id"], results[2]["id"]]
    assert (first["exchange"], first["routing_key"], first["body"]) == (exchange, "done.1", '{"n":1}')
    assert (first["headers"], first["priority"], first["content_type"]) == ({"a": 1}, 1, "application/json")
    assert (second["exchange"], second["routing_key"], second["body_base64"]) == ("", out, "/w==")
    assert (second["content_type"], second["group"]) == ("image/png", "g")
    again = receive(shared, queue, max_messages=9)
    assert [(message["body"], message["failed_count"]) for message in again] == [("2", 1), ("3", 1)]


def test_each_part_alone(shared: httpx2.Client, queue: str) -> None:
    one, two = lease(shared, queue, "1", "2")
    assert transact(shared, acks=[{"queue": queue, "receipts": [one]}]).json() == {
        "acked": 1,
        "nacked": 0,
        "results": [],
    }
    nacked = transact(shared, nacks=[{"queue": queue, "receipts": [two]}], acks=[], publishes=None)
    assert nacked.json() == {"acked": 0, "nacked": 1, "results": []}
    published = transact(shared, publishes=[{"queue": queue, "body": "3"}]).json()
    assert (published["acked"], published["nacked"], len(published["results"])) == (0, 0, 1)


def test_several_queues_and_a_receipt_given_twice(shared: httpx2.Client, queue: str, out: str) -> None:
    mine, yours = lease(shared, queue, "1"), lease(shared, out, "2", "3")
    acks = [{"queue": queue, "receipts": mine * 3}, {"queue": out, "receipts": yours}]
    assert transact(shared, acks=acks).json()["acked"] == 3
    assert counts(shared, queue, out) == [(0, 0, 0, 0, 1, 1, 0), (0, 0, 0, 0, 2, 2, 0)]


def test_nacks_have_all_their_options(shared: httpx2.Client, name: Name) -> None:
    dead = make_queue(shared, name("dead"))
    exchange = make_exchange(shared, name("dlx"), "fanout")
    bind(shared, exchange, dead)
    queue = make_queue(shared, name("q"), dead_letter_exchange=exchange)
    up, back, later = lease(shared, queue, "up", "back", "later")
    nacks = [
        {"queue": queue, "receipts": [up], "requeue": False, "reason": "no use"},
        {"queue": queue, "receipts": [back], "delivery_failed": False, "delay_seconds": 0},
        {"queue": queue, "receipts": [later], "delay_seconds": 3600},
    ]
    assert transact(shared, nacks=nacks).json()["nacked"] == 3
    (death,) = receive_one(shared, dead)["deaths"]
    assert (death["queue"], death["reason"], death["detail"]) == (queue, "rejected", "no use")
    message = receive_one(shared, queue)
    assert (message["body"], message["failed_count"]) == ("back", 0)
    assert stats(shared, queue)["delayed"] == 1


# --- refusing ---------------------------------------------------------------------


def test_transaction_x_lost_lease_nothing_is_done(shared: httpx2.Client, queue: str, out: str) -> None:
    one, two = lease(shared, queue, "1", "2")
    settle(shared, queue, "nack", two, delay_seconds=0)
    before = counts(shared, queue, out)
    for part, other in (("acks", "nacks"), ("nacks", "acks")):
        parts: Json = {part: [{"queue": queue, "receipts": [two]}], other: [{"queue": queue, "receipts": [one]}]}
        answer = transact(shared, publishes=[{"queue": out, "body": "x"}], **parts)
        assert_problem(answer, 409, "lease-lost", receipt=two, queue=queue)
    assert counts(shared, queue, out) == before
    assert transact(shared, acks=[{"queue": queue, "receipts": [one]}]).status_code == 200


def test_transaction_x_gone_nothing_is_done(shared: httpx2.Client, queue: str, out: str) -> None:
    one, two = lease(shared, queue, "1", "2")
    settle(shared, queue, "ack", two)
    before = counts(shared, queue, out)
    acks = [{"queue": queue, "receipts": [one, two]}]
    answer = transact(shared, acks=acks, publishes=[{"queue": out, "body": "x"}])
    assert_problem(answer, 409, "gone", receipt=two, queue=queue)
    # A receipt of another queue's is gone, too.
    answer = transact(shared, acks=[{"queue": out, "receipts": [one]}])
    assert_problem(answer, 409, "gone", receipt=one, queue=out)
    assert counts(shared, queue, out) == before


def test_transaction_x_full_queue_nothing_is_acked(shared: httpx2.Client, queue: str, out: str, name: Name) -> None:
    full = make_queue(shared, name("full"), max_messages=1)
    receipts = lease(shared, queue, "1")
    before = counts(shared, queue, out, full)
    answer = transact(
        shared,
        acks=[{"queue": queue, "receipts": receipts}],
        publishes=[{"queue": out, "body": "x"}, {"queue": full, "body": "y"}, {"queue": full, "body": "z"}],
    )
    assert_problem(answer, 429, "queue-full", queue=full, index=2)
    assert answer.headers["retry-after"] == "1"
    assert counts(shared, queue, out, full) == before


def test_transaction_x_lost_lease_x_full_queue(
    shared: httpx2.Client, queue: str, out: str, key: str, name: Name
) -> None:
    """Each of the two refuses it by itself, both together too, and only when neither is left it is done."""
    full = make_queue(shared, name("full"), max_messages=1)
    put(shared, full, "there")
    (lost,) = lease(shared, queue, "1")
    settle(shared, queue, "nack", lost, delay_seconds=0)
    publishes = [{"queue": out, "body": "x"}, {"queue": full, "body": "y"}]

    def attempt(receipt: str) -> httpx2.Response:
        return transact(shared, key, acks=[{"queue": queue, "receipts": [receipt]}], publishes=publishes)

    assert attempt(lost).json()["type"] in ("urn:queuesvc:lease-lost", "urn:queuesvc:queue-full")
    fresh = receive_one(shared, queue, lease_seconds=600)["receipt"]
    assert_problem(attempt(fresh), 429, "queue-full", index=1)
    settle(shared, full, "ack", receive_one(shared, full)["receipt"])
    assert_problem(attempt(lost), 409, "lease-lost", receipt=lost)
    assert counts(shared, out, full) == [(0, 0, 0, 0, 0, 0, 0), (0, 0, 0, 0, 1, 1, 0)]
    done = attempt(fresh)
    assert (done.status_code, done.json()["acked"]) == (200, 1)
    assert attempt(fresh).json() == done.json()
    assert counts(shared, queue, out, full) == [(0, 0, 0, 0, 1, 1, 1), (1, 0, 0, 0, 1, 0, 0), (1, 0, 0, 0, 2, 1, 0)]


def test_an_unroutable_publish_refuses_it_all(shared: httpx2.Client, queue: str, out: str, name: Name) -> None:
    exchange = make_exchange(shared, name("x"))
    receipts = lease(shared, queue, "1")
    publishes = [{"queue": out, "body": "x"}, {"exchange": exchange, "body": "y", "mandatory": True}]
    answer = transact(shared, acks=[{"queue": queue, "receipts": receipts}], publishes=publishes)
    assert_problem(answer, 422, "unroutable", index=1)
    assert counts(shared, queue, out) == [(0, 1, 0, 0, 1, 0, 0), (0, 0, 0, 0, 0, 0, 0)]


@pytest.mark.parametrize(
    ("parts", "code", "members"),
    [
        ({"acks": [{"queue": "nobody", "receipts": "R"}]}, "queue-not-found", {}),
        ({"nacks": [{"queue": "nobody", "receipts": "R"}]}, "queue-not-found", {}),
        ({"publishes": [{"queue": "nobody", "body": "x"}]}, "queue-not-found", {"index": 0}),
        ({"publishes": [{"queue": "Q", "body": "x"}, {"exchange": "nobody", "body": "x"}]}, "exchange-not-found", {}),
    ],
)
def test_what_is_not_there(shared: httpx2.Client, queue: str, parts: Json, code: str, members: Json) -> None:
    receipts = lease(shared, queue, "1")
    written = json.dumps(parts).replace('"Q"', f'"{queue}"').replace('"R"', json.dumps(receipts))
    assert_problem(shared.post(URL, content=written), 404, code, **members)
    assert counts(shared, queue) == [(0, 1, 0, 0, 1, 0, 0)]


GOOD_ACK = {"queue": "q", "receipts": ["r"]}


@pytest.mark.parametrize(
    ("parts", "field", "index"),
    [
        ({}, "publishes", None),
        ({"acks": [], "nacks": [], "publishes": []}, "publishes", None),
        ({"ack": [GOOD_ACK]}, "ack", None),
        ({"acks": {}}, "acks", None),
        ({"nacks": "x"}, "nacks", None),
        ({"publishes": {"queue": "q"}}, "publishes", None),
        ({"acks": [GOOD_ACK, []]}, "acks.1", None),
        ({"acks": [{"receipts": ["r"]}]}, "acks.0.queue", None),
        ({"acks": [{"queue": 1, "receipts": ["r"]}]}, "acks.0.queue", None),
        ({"acks": [{"queue": "a b", "receipts": ["r"]}]}, "acks.0.queue", None),
        ({"acks": [{"queue": "_reply.x", "receipts": ["r"]}]}, "acks.0.queue", None),
        ({"acks": [{"queue": "q"}]}, "acks.0.receipts", None),
        ({"acks": [{"queue": "q", "receipts": []}]}, "publishes", None),
        ({"acks": [{"queue": "q", "receipts": [1]}]}, "acks.0.receipts", 0),
        ({"acks": [{**GOOD_ACK, "requeue": True}]}, "acks.0.requeue", None),
        ({"nacks": [GOOD_ACK, {**GOOD_ACK, "delay_seconds": -1}]}, "nacks.1.delay_seconds", None),
        ({"nacks": [{**GOOD_ACK, "reason": "x" * 1025}]}, "nacks.0.reason", None),
        ({"nacks": [{**GOOD_ACK, "requeue": 1}]}, "nacks.0.requeue", None),
        ({"nacks": [{**GOOD_ACK, "lease_seconds": 1}]}, "nacks.0.lease_seconds", None),
        ({"publishes": [1]}, "publish", 0),
        ({"publishes": [{"body": "x"}]}, "exchange", 0),
        ({"publishes": [{"body": "x", "queue": "q", "exchange": "x"}]}, "exchange", 0),
        ({"publishes": [{"body": "x", "exchange": ""}]}, "exchange", 0),
        ({"publishes": [{"body": "x", "exchange": []}]}, "exchange", 0),
        ({"publishes": [{"body": "x", "queue": "q"}, {"body": "x", "queue": "_other"}]}, "queue", 1),
        ({"publishes": [{"body": "x", "queue": "_reply."}]}, "queue", 0),
        ({"publishes": [{"body": "x", "queue": "_reply.a/b"}]}, "queue", 0),
        ({"publishes": [{"body": "x", "queue": "q", "routing_key": "r"}]}, "routing_key", 0),
        ({"publishes": [{"body": "x", "queue": "q"}, {"queue": "q"}]}, "body", 1),
        ({"publishes": [{"body": "x", "queue": "q", "unknown": 1}]}, "unknown", 0),
        ({"publishes": [{"body": "x", "exchange": "x", "priority": 256}]}, "priority", 0),
        ({"publishes": [{"body": "x", "exchange": "x", "idempotency_key": ""}]}, "idempotency_key", 0),
    ],
)
def test_bad_meaning(shared: httpx2.Client, parts: Json, field: str, index: int | None) -> None:
    assert_problem(transact(shared, **parts), 422, "invalid-request", field=field, index=index)


def test_bad_receipts_are_refused(shared: httpx2.Client, queue: str) -> None:
    (receipt,) = lease(shared, queue, "1")
    good = {"queue": queue, "receipts": [receipt]}
    bad = {"queue": queue, "receipts": ["no receipt"]}
    assert_problem(transact(shared, acks=[good, bad]), 422, "invalid-request", field="receipts")
    assert_problem(transact(shared, acks=[good], nacks=[good]), 422, "invalid-request", receipt=receipt)
    assert_problem(transact(shared, acks=[good, good]), 422, "invalid-request", receipt=receipt)
    assert counts(shared, queue) == [(0, 1, 0, 0, 1, 0, 0)]


@pytest.mark.parametrize("body", [b"{", b"\xff", b'{"acks": [NaN]}', b'{"acks":[]}x'])
def test_bad_syntax(shared: httpx2.Client, body: bytes) -> None:
    assert_problem(shared.post(URL, content=body), 400, "malformed-request")


def test_bad_requests(shared: httpx2.Client, queue: str) -> None:
    body = json.dumps({"publishes": [{"queue": queue, "body": "x"}]})
    assert_problem(shared.post(f"{URL}?mandatory=true", content=body), 422, "invalid-request", field="mandatory")
    for header in ("Message-Header-A", "ce-id"):
        assert_problem(shared.post(URL, content=body, headers={header: "1"}), 422, "invalid-request", field="headers")
    answer = shared.post(URL, content=body, headers={"Content-Encoding": "gzip"})
    assert_problem(answer, 415, "unsupported-media-type")
    assert_problem(shared.post(URL, content=b"[]"), 422, "invalid-request")
    for method in ("GET", "PUT", "DELETE"):
        assert_problem(shared.request(method, URL), 405, "method-not-allowed")
    assert receive(shared, queue) == []


def test_limits(shared: httpx2.Client, queue: str, out: str) -> None:
    """At most 1,000 publishes, and 1,000 receipts in all; a body as anywhere."""
    publish = {"queue": queue, "body": "x"}
    assert_problem(transact(shared, publishes=[publish] * 1001), 422, "invalid-request", field="publishes")
    assert len(transact(shared, publishes=[publish] * 1000).json()["results"]) == 1000
    put(shared, out, "x")
    receipts = [message["receipt"] for message in receive(shared, queue, max_messages=1000)]
    other = receive_one(shared, out)["receipt"]
    acks = [{"queue": queue, "receipts": receipts[:600]}]
    nacks = [{"queue": queue, "receipts": receipts[600:]}, {"queue": out, "receipts": [other]}]
    assert_problem(transact(shared, acks=acks, nacks=nacks), 422, "invalid-request", field="receipts")
    answer = transact(shared, acks=acks, nacks=nacks[:1], publishes=[publish]).json()
    assert (answer["acked"], answer["nacked"]) == (600, 400)
    large = {"queue": queue, "body": "x" * (1024 * 1024 + 1)}
    assert_problem(transact(shared, publishes=[publish, large]), 413, "body-too-large", index=1)
