"""Delays, times to live and groups, as publishers and consumers see them on the wire (§4, §5)."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import httpx2
import pytest

from tests.http.wire import (
    bind,
    make_exchange,
    make_queue,
    put,
    receive,
    receive_one,
    settle,
    stats,
)
from tests.support.server import Server
from tests.support.until import wait_until

Name = Callable[..., str]
Json = dict[str, Any]


def bodies(messages: list[Json]) -> list[str]:
    return [message["body"] for message in messages]


def seconds_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


# --- delay -----------------------------------------------------------------------------


def test_a_message_s_own_delay_replaces_the_queue_s(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name("q"), delay_seconds=3600)
    put(shared, queue, "queue's")
    put(shared, queue, "none", delay_seconds=0)
    assert bodies(receive(shared, queue)) == ["none"]
    put(shared, queue, "short", delay_seconds=0.05)
    assert receive_one(shared, queue)["body"] == "short"
    assert (stats(shared, queue)["ready"], stats(shared, queue)["delayed"]) == (0, 1)


def test_priority_x_delay(shared: httpx2.Client, name: Name) -> None:
    """What becomes ready later takes its place by priority, and within one by age."""
    queue = make_queue(shared, name("q"), max_priority=9)
    put(shared, queue, "high, late", priority=9, delay_seconds=0.1)
    put(shared, queue, "low, older, late", delay_seconds=0.1)
    put(shared, queue, "low")
    wait_until(lambda: stats(shared, queue)["ready"] == 3)
    assert bodies(receive(shared, queue, max_messages=9)) == ["high, late", "low, older, late", "low"]


def test_delay_x_restart(server: Server, http: httpx2.Client) -> None:
    make_queue(http, "q")
    put(http, "q", "soon", delay_seconds=0.2)
    put(http, "q", "later", delay_seconds=3600)
    server.kill()
    server.start()
    assert receive_one(http, "q")["body"] == "soon"
    assert stats(http, "q")["delayed"] == 1


# --- time to live ------------------------------------------------------------------------


def test_the_lower_ttl_wins_and_counts_from_the_publish(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name("q"), message_ttl_seconds=60)
    for own in (None, 30, 90):
        put(shared, queue, str(own), ttl_seconds=own)
    messages = receive(shared, queue, max_messages=9)
    assert [seconds_between(m["published_at"], m["expires_at"]) for m in messages] == [60, 30, 60]
    plain = make_queue(shared, name("q"))
    put(shared, plain, "x")
    assert receive_one(shared, plain)["expires_at"] is None


def test_what_has_expired_is_never_handed_out(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name("q"))
    put(shared, queue, "short", ttl_seconds=0.001)
    put(shared, queue, "delayed beyond its end", ttl_seconds=0.05, delay_seconds=0.1)
    wait_until(lambda: stats(shared, queue)["expired"] == 2)
    assert receive(shared, queue) == []


def test_ttl_x_lease_the_end_of_the_lease_is_when_it_counts(shared: httpx2.Client, name: Name) -> None:
    dead = make_queue(shared, name("dead"))
    letters = make_exchange(shared, name("dlx"), "fanout")
    bind(shared, letters, dead)
    queue = make_queue(shared, name("q"), dead_letter_exchange=letters)
    put(shared, queue, "kept", "acked", ttl_seconds=0.1)
    kept, acked = receive(shared, queue, max_messages=2, lease_seconds=600)
    # A message published later with the same time to live is past it: so are these, but they are leased.
    put(shared, queue, "witness", ttl_seconds=0.1)
    assert receive_one(shared, dead)["body"] == "witness"
    assert stats(shared, queue)["leased"] == 2
    assert settle(shared, queue, "ack", acked["receipt"])["acked"] == 1
    assert settle(shared, queue, "nack", kept["receipt"])["nacked"] == 1
    letter = receive_one(shared, dead)
    assert (letter["body"], letter["deaths"][0]["reason"], letter["expires_at"]) == ("kept", "expired", None)


def test_ttl_x_group_an_expired_head_holds_nobody_up(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name("q"))
    put(shared, queue, "head", group="g", ttl_seconds=0.05, delay_seconds=0)
    put(shared, queue, "next", group="g")
    wait_until(lambda: stats(shared, queue)["expired"] == 1)
    assert receive_one(shared, queue)["body"] == "next"


# --- groups -----------------------------------------------------------------------------


def test_a_group_is_handed_to_one_receive_at_a_time(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name("q"))
    put(shared, queue, "a1", "a2", "a3", group="a")
    put(shared, queue, "b1", group="b")
    put(shared, queue, "free")
    first = receive(shared, queue, max_messages=2, lease_seconds=600)
    assert bodies(first) == ["a1", "a2"]
    # The rest of the group waits, others do not.
    assert bodies(receive(shared, queue, max_messages=9)) == ["b1", "free"]
    assert stats(shared, queue)["ready"] == 1
    settle(shared, queue, "ack", first[0]["receipt"])
    assert receive(shared, queue) == []
    settle(shared, queue, "ack", first[1]["receipt"])
    assert receive_one(shared, queue)["body"] == "a3"


def test_group_x_retry_the_later_ones_go_back_too(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name("q"), retry_backoff={"initial_seconds": 0.1, "jitter": 0})
    put(shared, queue, "1", "2", "3", group="g")
    one, two, three = receive(shared, queue, max_messages=3, lease_seconds=600)
    settle(shared, queue, "ack", one["receipt"])
    settle(shared, queue, "nack", two["receipt"])
    # While it waits for its retry nobody gets the later one, whose receipt is lost.
    assert settle(shared, queue, "ack", three["receipt"])["failed"] == [
        {"receipt": three["receipt"], "code": "lease-lost"}
    ]
    again = receive_one(shared, queue, max_messages=1)
    assert (again["body"], again["failed_count"]) == ("2", 1)
    settle(shared, queue, "ack", again["receipt"])
    last = receive_one(shared, queue)
    assert (last["body"], last["failed_count"]) == ("3", 0)


def test_group_x_retry_x_dead_letter(shared: httpx2.Client, name: Name) -> None:
    """The group goes on behind one that died, and the letter keeps its group."""
    dead = make_queue(shared, name("dead"))
    letters = make_exchange(shared, name("dlx"), "fanout")
    bind(shared, letters, dead)
    queue = make_queue(shared, name("q"), delivery_limit=2, dead_letter_exchange=letters)
    put(shared, queue, "poison", "next", group="g")
    for _ in range(2):
        message = receive_one(shared, queue)
        assert message["body"] == "poison"
        settle(shared, queue, "nack", message["receipt"], delay_seconds=0)
    letter = receive_one(shared, dead)
    assert (letter["body"], letter["group"], letter["deaths"][0]["reason"]) == ("poison", "g", "delivery_limit")
    assert receive_one(shared, queue)["body"] == "next"


def test_a_delay_at_publish_does_not_hold_up_the_group(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name("q"))
    put(shared, queue, "late", group="g", delay_seconds=3600)
    put(shared, queue, "now", group="g")
    assert receive_one(shared, queue)["body"] == "now"


@pytest.mark.parametrize("how", ["envelope", "query", "transaction"])
def test_a_group_given_in_any_way(shared: httpx2.Client, name: Name, how: str) -> None:
    queue = make_queue(shared, name("q"))
    for body in "12":
        match how:
            case "envelope":
                put(shared, queue, body, group="grüppe 1")
            case "query":
                shared.post(f"/v1/queues/{queue}/messages", content=body, params={"group": "grüppe 1"})
            case _:
                publish = {"queue": queue, "body": body, "group": "grüppe 1"}
                shared.post("/v1/transactions", json={"publishes": [publish]})
    message = receive_one(shared, queue)
    assert (message["body"], message["group"]) == ("1", "grüppe 1")
    assert receive(shared, queue) == []


def test_group_x_restart(server: Server, http: httpx2.Client) -> None:
    make_queue(http, "q")
    put(http, "q", "1", "2", group="g")
    first = receive_one(http, "q", lease_seconds=600)
    server.kill()
    server.start()
    assert receive(http, "q") == []
    assert settle(http, "q", "ack", first["receipt"])["acked"] == 1
    assert receive_one(http, "q")["body"] == "2"
