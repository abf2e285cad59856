"""Redrive on the wire: the dead back to life, dead letters back where they died."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.http.repairing import UNKNOWN, Name, bodies, browse, counts, dead_letter_pair, kill_messages, redrive
from tests.http.wire import (
    Json,
    assert_problem,
    bind,
    make_exchange,
    make_queue,
    put,
    receive,
    settle,
    stats,
    wait_for_waiters,
)
from tests.support.until import wait_until

# --- redrive: dead --------------------------------------------------------------


def test_dead_ones_become_ready_again_in_order_at_the_tail(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name())
    ids = put(shared, queue, "a", "b", "c")
    kill_messages(shared, queue, 3)
    put(shared, queue, "d")
    assert redrive(shared, queue, dry_run=True) == {"moved": 3, "failed": []}
    assert counts(shared, queue) == (1, 0, 0, 3)
    assert redrive(shared, queue) == {"moved": 3, "failed": []}
    assert counts(shared, queue) == (4, 0, 0, 0)
    messages = receive(shared, queue, max_messages=10)
    assert bodies(messages) == ["d", "a", "b", "c"]
    for message, old in zip(messages[1:], ids, strict=True):
        assert (message["delivery_count"], message["failed_count"]) == (1, 0)
        assert message["id"] != old
        assert [(death["id"], death["reason"], death["detail"]) for death in message["deaths"]] == [
            (old, "rejected", "poison")
        ]
    assert_problem(shared.get(f"/v1/queues/{queue}/messages/{ids[0]}"), 404, "message-not-found")
    assert redrive(shared, queue) == {"moved": 0, "failed": []}


def test_some_of_them(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name())
    ids = put(shared, queue, "a", "b", "c", "d")
    kill_messages(shared, queue, 4)
    assert redrive(shared, queue, max_messages=1) == {"moved": 1, "failed": []}
    assert redrive(shared, queue, ids=[ids[3], ids[1], ids[3], ids[0], UNKNOWN, "x"]) == {
        "moved": 2,
        "failed": [{"id": id_, "code": "message-not-found"} for id_ in (ids[0], UNKNOWN, "x")],
    }
    # In the order in which they stood, whatever the order of their ids.
    assert bodies(receive(shared, queue, max_messages=10)) == ["a", "b", "d"]
    assert counts(shared, queue) == (0, 3, 0, 1)


def test_max_messages_bounds_ids_too(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name())
    ids = put(shared, queue, "a", "b", "c")
    kill_messages(shared, queue, 3)
    assert redrive(shared, queue, ids=ids, max_messages=2)["moved"] == 2
    assert bodies(browse(shared, queue, "state=dead")) == ["c"]


def test_ids_of_large_messages(shared: httpx2.Client, name: Name) -> None:
    """More than one step of the broker may move: all of them are moved, and a failure is named once."""
    queue = make_queue(shared, name())
    ids = [shared.post(f"/v1/queues/{queue}/messages", content=b"x" * 1024 * 1024).json()["id"] for _ in range(12)]
    for _ in range(12):
        kill_messages(shared, queue, 1)
    failed = [{"id": UNKNOWN, "code": "message-not-found"}]
    assert redrive(shared, queue, ids=[*ids, UNKNOWN]) == {"moved": 12, "failed": failed}


def test_ids_that_never_arrived(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name())
    (id_,) = put(shared, queue, "a")
    failed = [{"id": id_, "code": "message-not-found"}]
    assert redrive(shared, queue, ids=[id_], **{"from": "arrived"}) == {"moved": 0, "failed": failed}


def test_into_another_queue(shared: httpx2.Client, name: Name) -> None:
    queue, other = make_queue(shared, name()), make_queue(shared, name(), max_messages=1)
    put(shared, other, "there")
    put(shared, queue, "a", "b")
    kill_messages(shared, queue, 2)
    # It is full, and a redrive is never refused.
    assert redrive(shared, queue, to_queue=other)["moved"] == 2
    assert (counts(shared, queue), counts(shared, other)) == ((0, 0, 0, 0), (3, 0, 0, 0))
    assert stats(shared, queue)["moved_out"] == stats(shared, other)["moved_in"] == 2
    assert bodies(receive(shared, other, max_messages=5)) == ["there", "a", "b"]


def test_who_waits_gets_what_is_redriven(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name())
    put(shared, queue, "a")
    kill_messages(shared, queue, 1)
    with httpx2.Client(base_url=shared.base_url, timeout=60) as other, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(receive, other, queue, wait_seconds=30)
        wait_for_waiters(shared, queue, 1)
        redrive(shared, queue)
        assert bodies(waiting.result()) == ["a"]


def test_properties_survive_a_redrive(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name(), max_priority=5)
    properties = {"priority": 4, "group": "g", "headers": {"a": 1}, "correlation_id": "c", "reply_to": "r"}
    put(shared, queue, "a", "b", content_type="text/x", **properties)
    kill_messages(shared, queue, 2)
    redrive(shared, queue)
    first, second = receive(shared, queue, max_messages=2)
    assert [first["body"], second["body"]] == ["a", "b"]
    assert {member: first[member] for member in (*properties, "content_type")} == {
        **properties,
        "content_type": "text/x",
    }


def test_5_000_in_one_call_keep_their_order(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name())
    for start in range(0, 5000, 1000):
        put(shared, queue, *(str(number) for number in range(start, start + 1000)))
    for _ in range(5):
        kill_messages(shared, queue, 1000)
    assert redrive(shared, queue, max_messages=4500) == {"moved": 4500, "failed": []}
    assert counts(shared, queue) == (4500, 0, 0, 500)
    assert redrive(shared, queue, "dry_run=true") == {"moved": 500, "failed": []}
    assert redrive(shared, queue) == {"moved": 500, "failed": []}
    taken: list[Json] = []
    for _ in range(5):
        taken += receive(shared, queue, max_messages=1000)
    assert bodies(taken) == [str(number) for number in range(5000)]


# --- redrive: arrived -----------------------------------------------------------


def test_dead_letters_go_back_where_they_died(shared: httpx2.Client, name: Name) -> None:
    work, dead, exchange = dead_letter_pair(shared, name)
    others = make_queue(shared, name("work2"), dead_letter_exchange=exchange)
    for queue, body in ((work, "w1"), (others, "o1"), (work, "w2")):
        put(shared, queue, body)
        kill_messages(shared, queue, 1)
    put(shared, dead, "published here")
    arrived = browse(shared, dead)
    assert [message["exchange"] for message in arrived] == [exchange, exchange, exchange, ""]
    # There are no dead ones here, so those that arrived are meant.
    assert redrive(shared, dead, "dry_run=true") == {"moved": 3, "failed": []}
    assert redrive(shared, dead) == {"moved": 3, "failed": []}
    assert counts(shared, dead) == (1, 0, 0, 0)
    back = receive(shared, work, max_messages=5)
    assert bodies(back) == ["w1", "w2"]
    assert bodies(receive(shared, others, max_messages=5)) == ["o1"]
    # They are as they were there before, but for what tells of their deaths.
    assert [(one["exchange"], one["routing_key"], one["failed_count"]) for one in back] == [("", work, 0)] * 2
    assert [death["queue"] for death in back[0]["deaths"]] == [work]
    assert stats(shared, work)["moved_in"] == 2


def test_dead_ones_first_unless_told(shared: httpx2.Client, name: Name) -> None:
    work, dead, _ = dead_letter_pair(shared, name)
    put(shared, work, "arrives")
    kill_messages(shared, work, 1)
    put(shared, dead, "dies here")
    taken = receive(shared, dead, max_messages=2)
    settle(shared, dead, "nack", taken[1]["receipt"], requeue=False)
    settle(shared, dead, "nack", taken[0]["receipt"])
    assert counts(shared, dead) == (1, 0, 0, 1)
    assert redrive(shared, dead, "dry_run=true", **{"from": "arrived"})["moved"] == 1
    assert redrive(shared, dead)["moved"] == 1
    assert counts(shared, dead) == (2, 0, 0, 0)
    # What was redriven within its queue has not arrived from another.
    assert redrive(shared, dead, **{"from": "arrived"}) == {"moved": 1, "failed": []}
    assert bodies(browse(shared, dead)) == ["dies here"]
    assert bodies(browse(shared, work)) == ["arrives"]
    assert redrive(shared, dead, **{"from": "dead"}) == {"moved": 0, "failed": []}


def test_the_origin_is_gone(shared: httpx2.Client, name: Name) -> None:
    work, dead, exchange = dead_letter_pair(shared, name)
    other = make_queue(shared, name("work2"), dead_letter_exchange=exchange)
    for queue in (work, other, work):
        put(shared, queue, "x")
        kill_messages(shared, queue, 1)
    ids = [message["id"] for message in browse(shared, dead)]
    assert shared.delete(f"/v1/queues/{work}").is_success
    failed = [{"id": id_, "code": "queue-not-found"} for id_ in (ids[0], ids[2])]
    assert redrive(shared, dead, dry_run=True) == {"moved": 1, "failed": failed}
    assert redrive(shared, dead) == {"moved": 1, "failed": failed}
    assert counts(shared, dead) == (2, 0, 0, 0)
    assert counts(shared, other) == (1, 0, 0, 0)
    assert redrive(shared, dead, ids=[ids[2]]) == {"moved": 0, "failed": [failed[1]]}
    # Somewhere else then.
    assert redrive(shared, dead, ids=[ids[2]], to_queue=other) == {"moved": 1, "failed": []}
    assert counts(shared, dead) == (1, 0, 0, 0)
    # A queue of the old name is where it died, as far as names tell.
    make_queue(shared, work)
    assert redrive(shared, dead) == {"moved": 1, "failed": []}
    assert counts(shared, work) == (1, 0, 0, 0)


def test_what_died_by_itself_goes_back_too(shared: httpx2.Client, name: Name) -> None:
    exchange, dead = make_exchange(shared, name("dlx"), "fanout"), make_queue(shared, name("dead"))
    bind(shared, exchange, dead, "")
    settings = {"dead_letter_exchange": exchange, "max_messages": 1, "overflow": "drop_oldest"}
    work = make_queue(shared, name("work"), **settings)
    put(shared, work, "old")
    put(shared, work, "new")
    assert bodies(browse(shared, dead)) == ["old"]
    assert redrive(shared, dead)["moved"] == 1
    assert bodies(browse(shared, work)) == ["new", "old"]
    expiring = make_queue(shared, name("expiring"), dead_letter_exchange=exchange)
    put(shared, expiring, "late", ttl_seconds=0.05)
    wait_until(lambda: counts(shared, dead) == (1, 0, 0, 0), "the death")
    assert redrive(shared, dead, ids=[browse(shared, dead)[0]["id"]], to_queue=work)["moved"] == 1
    late = browse(shared, work)[-1]
    assert (late["body"], late["deaths"][0]["reason"], late["expires_at"]) == ("late", "expired", None)


# --- refusals -------------------------------------------------------------------

BAD_REDRIVES: list[tuple[Any, str]] = [
    ({"max_messages": 0}, "max_messages"),
    ({"max_messages": -1}, "max_messages"),
    ({"max_messages": 1.5}, "max_messages"),
    ({"max_messages": "1"}, "max_messages"),
    ({"max_messages": True}, "max_messages"),
    ({"max_messages": 2**53}, "max_messages"),
    ({"ids": []}, "ids"),
    ({"ids": "x"}, "ids"),
    ({"ids": [1]}, "ids.0"),
    ({"ids": ["x"] * 1001}, "ids"),
    ({"from": "ready"}, "from"),
    ({"from": True}, "from"),
    ({"from_": "dead"}, "from_"),
    ({"to_queue": ""}, "to_queue"),
    ({"to_queue": "a b"}, "to_queue"),
    ({"to_queue": 1}, "to_queue"),
    ({"dry_run": "true"}, "dry_run"),
    ({"dry_run": 1}, "dry_run"),
    ({"state": "dead"}, "state"),
]


@pytest.mark.parametrize(("document", "field"), BAD_REDRIVES)
def test_redrive_refusals(shared: httpx2.Client, name: Name, document: Any, field: str) -> None:
    queue = make_queue(shared, name())
    put(shared, queue, "a")
    kill_messages(shared, queue, 1)
    answer = shared.post(f"/v1/queues/{queue}/redrive", json=document)
    assert_problem(answer, 422, "invalid-request", field=field)
    assert counts(shared, queue) == (0, 0, 0, 1)


def test_redrive_to_no_queue(shared: httpx2.Client, name: Name) -> None:
    queue, other = make_queue(shared, name()), name()
    put(shared, queue, "a")
    kill_messages(shared, queue, 1)
    answer = shared.post(f"/v1/queues/{queue}/redrive", json={"to_queue": other})
    assert_problem(answer, 404, "queue-not-found", queue=other)
    assert counts(shared, queue) == (0, 0, 0, 1)
    # No body at all is all of it.
    assert shared.post(f"/v1/queues/{queue}/redrive").json() == {"moved": 1, "failed": []}
