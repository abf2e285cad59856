"""Transactions tried again: after a lost answer, a refusal or a crash they are done once (§7)."""

import json
from typing import Any

import httpx2
import pytest

from tests.http.transacting import URL, counts, lease, transact
from tests.http.wire import (
    assert_problem,
    connect,
    make_queue,
    receive,
    receive_one,
    request_bytes,
    settle,
    skip_answers,
    stats,
)
from tests.support.server import Server
from tests.support.until import wait_until

Json = dict[str, Any]


def test_a_retry_is_answered_as_the_first_time(shared: httpx2.Client, queue: str, out: str, key: str) -> None:
    one, two = lease(shared, queue, "1", "2")
    parts: Json = {
        "acks": [{"queue": queue, "receipts": [one]}],
        "nacks": [{"queue": queue, "receipts": [two], "requeue": False}],
        "publishes": [{"queue": out, "body": "x"}, {"queue": out, "body": "x"}],
    }
    first = transact(shared, key, **parts)
    assert first.status_code == 200
    # The receipts settle nothing any more, and yet:
    again = transact(shared, key, **parts)
    assert (again.status_code, again.json()) == (200, first.json())
    assert counts(shared, queue, out) == [(0, 0, 0, 1, 2, 1, 1), (2, 0, 0, 0, 2, 0, 0)]
    assert_problem(transact(shared, **parts), 409, "gone", receipt=one)
    assert_problem(transact(shared, key, acks=parts["acks"]), 422, "idempotency-key-reused", key=key)
    # The keys of transactions are those of the whole broker, but not those of its exchanges and queues.
    into = f"/v1/queues/{out}/messages"
    assert shared.post(into, content=b"y", headers={"Idempotency-Key": key}).status_code == 201


def test_a_refused_transaction_leaves_no_record(shared: httpx2.Client, queue: str, out: str, key: str) -> None:
    (lost,) = lease(shared, queue, "1")
    settle(shared, queue, "nack", lost, delay_seconds=0)
    publishes = [{"queue": out, "body": "x"}]
    assert_problem(
        transact(shared, key, acks=[{"queue": queue, "receipts": [lost]}], publishes=publishes), 409, "lease-lost"
    )
    fresh = receive_one(shared, queue)["receipt"]
    done = transact(shared, key, acks=[{"queue": queue, "receipts": [fresh]}], publishes=publishes)
    assert done.status_code == 200, done.text


def test_envelopes_of_a_transaction_may_have_keys(shared: httpx2.Client, queue: str) -> None:
    envelope = {"queue": queue, "body": "x", "idempotency_key": "e"}
    first = transact(shared, publishes=[envelope]).json()["results"][0]
    again = transact(shared, publishes=[envelope, {"queue": queue, "body": "y"}]).json()["results"]
    assert again[0] == {**first, "duplicate": True}
    assert "duplicate" not in again[1]
    (alone,) = shared.post(
        f"/v1/queues/{queue}/messages/batch", json={"messages": [{"body": "x", "idempotency_key": "e"}]}
    ).json()["results"]
    assert alone == {**first, "duplicate": True}


def test_a_retry_after_a_lost_answer(
    shared: httpx2.Client, shared_server: Server, queue: str, out: str, key: str
) -> None:
    (receipt,) = lease(shared, queue, "1")
    parts = {"acks": [{"queue": queue, "receipts": [receipt]}], "publishes": [{"queue": out, "body": "x"}]}
    body = json.dumps(parts).encode()
    with connect(shared_server.url) as worker:
        headers = {"Idempotency-Key": key, "Content-Length": str(len(body))}
        worker.sendall(request_bytes(URL, body, headers))
    wait_until(lambda: stats(shared, queue)["acked"] == 1)
    assert transact(shared, key, **parts).json()["acked"] == 1
    assert counts(shared, queue, out) == [(0, 0, 0, 0, 1, 1, 0), (1, 0, 0, 0, 1, 0, 0)]


@pytest.mark.parametrize("answered", [0, 7, 20])
def test_exactly_once_across_a_crash(server: Server, http: httpx2.Client, answered: int) -> None:
    """A worker that moves messages on is killed with its broker, and does everything again."""
    make_queue(http, "in")
    make_queue(http, "out")
    receipts = lease(http, "in", *(str(n) for n in range(30)))
    steps = [
        {"acks": [{"queue": "in", "receipts": [receipt]}], "publishes": [{"queue": "out", "body": str(n)}]}
        for n, receipt in enumerate(receipts)
    ]
    requests = []
    for n, step in enumerate(steps):
        body = json.dumps(step).encode()
        requests.append(request_bytes(URL, body, {"Idempotency-Key": f"s{n}", "Content-Length": str(len(body))}))
    with connect(server.url) as worker:
        worker.sendall(b"".join(requests))
        skip_answers(worker, answered)
        server.kill()
    server.start()
    for n, step in enumerate(steps):
        assert transact(http, f"s{n}", **step).json()["acked"] == 1
    moved = [message["body"] for message in receive(http, "out", max_messages=100)]
    assert sorted(moved, key=int) == [str(n) for n in range(30)]
    assert counts(http, "in") == [(0, 0, 0, 0, 30, 30, 0)]
