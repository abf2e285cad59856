"""Bounds of queues on the wire: what a full one refuses, and what it lets go (§3, §4)."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

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
from tests.support.server import Server

Name = Callable[..., str]


def publish(http: httpx2.Client, target: str, content: bytes = b"x", **query: Any) -> httpx2.Response:
    """Publish to `exchanges/x` or `queues/q`."""
    return http.post(f"/v1/{target}/messages", content=content, params=query)


def batch(http: httpx2.Client, queue: str, *bodies: str) -> httpx2.Response:
    """Publish texts straight into a queue."""
    messages = [{"body": body} for body in bodies]
    return http.post(f"/v1/queues/{queue}/messages/batch", json={"messages": messages})


def bodies(http: httpx2.Client, queue: str) -> list[str]:
    """What is ready in a queue, taken out of it."""
    return [message["body"] for message in receive(http, queue, max_messages=1000, auto_ack=True)]


def assert_full(answer: httpx2.Response, queue: str, **members: Any) -> None:
    """It is refused since this queue is full, and may be tried again."""
    assert_problem(answer, 429, "queue-full", queue=queue, **members)
    assert int(answer.headers["retry-after"]) == answer.json()["retry_after_seconds"] >= 1


# --- reject_publish ------------------------------------------------------------------


def test_max_messages(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name("q"), max_messages=2)
    assert [publish(shared, f"queues/{queue}").status_code for _ in range(2)] == [201, 201]
    assert_full(publish(shared, f"queues/{queue}"), queue)
    assert_full(batch(shared, queue, "x"), queue, index=0)
    settle(shared, queue, "ack", receive_one(shared, queue)["receipt"])
    assert publish(shared, f"queues/{queue}").status_code == 201
    assert stats(shared, queue)["published"] == 3


def test_max_bytes(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name("q"), max_bytes=10)
    assert publish(shared, f"queues/{queue}", b"x" * 6).status_code == 201
    assert_full(publish(shared, f"queues/{queue}", b"x" * 5), queue)
    assert publish(shared, f"queues/{queue}", b"x" * 4).status_code == 201
    assert publish(shared, f"queues/{queue}", b"").status_code == 201
    # What never fits is no use trying again.
    answer = publish(shared, f"queues/{queue}", b"x" * 11)
    assert_problem(answer, 422, "invalid-request", field="body", queue=queue)
    assert "retry-after" not in answer.headers
    assert stats(shared, queue)["bytes"] == 10


def test_of_a_batch_too_large_for_the_queue_nothing_is_stored(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name("q"), max_messages=3)
    put(shared, queue, "there")
    assert_full(batch(shared, queue, "a", "b", "c"), queue, index=2)
    assert batch(shared, queue, "a", "b").status_code == 201
    assert bodies(shared, queue) == ["there", "a", "b"]


def test_ready_and_delayed_ones_count_and_leased_ones_do_not(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name("q"), max_messages=2)
    put(shared, queue, "delayed", delay_seconds=3600)
    put(shared, queue, "ready")
    assert_full(publish(shared, f"queues/{queue}"), queue)
    leased = receive_one(shared, queue, lease_seconds=600)["receipt"]
    assert publish(shared, f"queues/{queue}").status_code == 201
    # What is given back is never refused, and then there are more than the limit.
    assert settle(shared, queue, "nack", leased, delay_seconds=0)["nacked"] == 1
    assert_full(publish(shared, f"queues/{queue}"), queue)
    assert (stats(shared, queue)["ready"], stats(shared, queue)["delayed"]) == (2, 1)


def test_one_full_target_refuses_the_whole_fan_out(shared: httpx2.Client, name: Name) -> None:
    exchange = make_exchange(shared, name("x"), "fanout")
    one, two, full = (make_queue(shared, name("q"), max_messages=most) for most in (9, None, 1))
    for queue in (one, two, full):
        bind(shared, exchange, queue)
    assert publish(shared, f"exchanges/{exchange}").status_code == 201
    assert_full(publish(shared, f"exchanges/{exchange}"), full)
    assert [stats(shared, queue)["published"] for queue in (one, two, full)] == [1, 1, 1]
    messages = {"messages": [{"body": "x"}]}
    assert_full(shared.post(f"/v1/exchanges/{exchange}/messages/batch", json=messages), full, index=0)


def test_limits_set_on_a_live_queue(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name("q"))
    put(shared, queue, "a", "b", "c")
    shared.patch(f"/v1/queues/{queue}", json={"max_messages": 2})
    # Nothing stored is dropped, and nothing comes until there is room.
    assert_full(publish(shared, f"queues/{queue}"), queue)
    assert stats(shared, queue)["ready"] == 3
    shared.patch(f"/v1/queues/{queue}", json={"max_messages": None})
    assert publish(shared, f"queues/{queue}").status_code == 201


def test_too_many_dead_ones_refuse_publishes(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name("q"), dead_max_messages=1)
    for _ in range(2):
        put(shared, queue, "x")
        settle(shared, queue, "nack", receive_one(shared, queue)["receipt"], requeue=False)
    assert_full(publish(shared, f"queues/{queue}"), queue)
    shared.patch(f"/v1/queues/{queue}", json={"dead_max_messages": 2})
    assert publish(shared, f"queues/{queue}").status_code == 201


def test_many_publishers_fill_it_exactly(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name("q"), max_messages=50)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: publish(shared, f"queues/{queue}"), range(80)))
    assert sorted(answer.status_code for answer in answers) == [201] * 50 + [429] * 30
    assert stats(shared, queue)["ready"] == 50


def test_a_full_queue_is_full_after_a_crash(server: Server, http: httpx2.Client) -> None:
    make_queue(http, "q", max_messages=2, max_bytes=100)
    put(http, "q", "a", "b")
    server.kill()
    server.start()
    assert_full(publish(http, "queues/q"), "q")
    settle(http, "q", "ack", receive_one(http, "q")["receipt"])
    assert publish(http, "queues/q").status_code == 201


# --- drop_oldest ---------------------------------------------------------------------


def test_the_oldest_make_room(shared: httpx2.Client, name: Name) -> None:
    queue = make_queue(shared, name("q"), max_messages=3, overflow="drop_oldest")
    put(shared, queue, *"abcde")
    assert publish(shared, f"queues/{queue}", b"f").status_code == 201
    found = stats(shared, queue)
    assert (found["ready"], found["dropped"], found["published"], found["dead"]) == (3, 3, 6, 0)
    assert bodies(shared, queue) == ["d", "e", "f"]


def test_overflow_x_dead_letter_x_fan_out(shared: httpx2.Client, name: Name) -> None:
    """Each queue of a fan-out makes room for itself; what it lets go is dead-lettered, and one that rejects rules."""
    dead = make_queue(shared, name("dead"))
    letters = make_exchange(shared, name("dlx"), "fanout")
    bind(shared, letters, dead)
    exchange = make_exchange(shared, name("x"), "fanout")
    small = {"max_messages": 1, "overflow": "drop_oldest"}
    keeping = make_queue(shared, name("q"), **small, dead_letter_exchange=letters)
    losing, roomy = make_queue(shared, name("q"), **small), make_queue(shared, name("q"), max_messages=2)
    for queue in (keeping, losing, roomy):
        bind(shared, exchange, queue)
    for body in (b"1", b"2"):
        assert publish(shared, f"exchanges/{exchange}", body).status_code == 201
    assert_full(publish(shared, f"exchanges/{exchange}", b"3"), roomy)
    (letter,) = receive(shared, dead, max_messages=9)
    assert letter["body"] == "1"
    assert [(death["queue"], death["reason"]) for death in letter["deaths"]] == [(keeping, "maxlen")]
    counted = [(stats(shared, queue)["dropped"], stats(shared, queue)["moved_out"]) for queue in (keeping, losing)]
    assert counted == [(0, 1), (1, 0)]
    assert [bodies(shared, queue) for queue in (keeping, losing, roomy)] == [["2"], ["2"], ["1", "2"]]


def test_length_limits_do_not_stop_a_dead_letter(shared: httpx2.Client, name: Name) -> None:
    dead = make_queue(shared, name("dead"), max_messages=1)
    letters = make_exchange(shared, name("dlx"), "fanout")
    bind(shared, letters, dead)
    put(shared, dead, "there")
    queue = make_queue(shared, name("q"), dead_letter_exchange=letters)
    put(shared, queue, "x")
    settle(shared, queue, "nack", receive_one(shared, queue)["receipt"], requeue=False)
    assert stats(shared, dead)["ready"] == 2
    assert_full(publish(shared, f"queues/{dead}"), dead)


@pytest.mark.parametrize("overflow", ["reject_publish", "drop_oldest"])
def test_one_message_above_max_bytes_never_fits(shared: httpx2.Client, name: Name, overflow: str) -> None:
    queue = make_queue(shared, name("q"), max_bytes=4, overflow=overflow)
    put(shared, queue, "abcd")
    assert_problem(publish(shared, f"queues/{queue}", b"12345"), 422, "invalid-request", field="body", queue=queue)
    assert_problem(batch(shared, queue, "12345", "a"), 422, "invalid-request", field="body", index=0)
    assert bodies(shared, queue) == ["abcd"]
