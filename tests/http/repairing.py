"""What the tests of looking and repairing share."""

from collections.abc import Callable
from typing import Any

import httpx2

from tests.http.wire import Json, bind, make_exchange, make_queue, put, receive, receive_one, settle, stats

Name = Callable[..., str]

TOTALS = ("acked", "expired", "dropped", "purged", "moved_out")
HERE = ("ready", "leased", "delayed", "dead")
UNKNOWN = "01a20e7d-7cee-77de-8de1-000000000001"


def counts(http: httpx2.Client, queue: str) -> tuple[int, ...]:
    """Ready, leased, delayed, dead; after checking that nothing was lost (§10.5)."""
    found = stats(http, queue)
    assert found["published"] + found["moved_in"] == sum(found[one] for one in (*HERE, *TOTALS))
    return tuple(found[one] for one in HERE)


def purge(http: httpx2.Client, queue: str, query: str = "") -> int:
    answer = http.delete(f"/v1/queues/{queue}/messages?{query}")
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() == {"purged"}
    purged: int = answer.json()["purged"]
    return purged


def redrive(http: httpx2.Client, queue: str, query: str = "", **options: Any) -> Json:
    answer = http.post(f"/v1/queues/{queue}/redrive?{query}", json=options)
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() == {"moved", "failed"}
    found: Json = answer.json()
    return found


def release(http: httpx2.Client, queue: str, *ids: str, query: str = "", **options: Any) -> Json:
    answer = http.post(f"/v1/queues/{queue}/release?{query}", json={"ids": ids, **options})
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() == {"released", "failed"}
    found: Json = answer.json()
    return found


def kill_messages(http: httpx2.Client, queue: str, count: int) -> None:
    """Let the next so many messages die."""
    for _ in range(0, count, 1000):
        taken = receive(http, queue, max_messages=min(count, 1000))
        settle(http, queue, "nack", *(message["receipt"] for message in taken), requeue=False, reason="poison")


def dead_letter_pair(http: httpx2.Client, name: Name) -> tuple[str, str, str]:
    """A queue whose dead letters go through an exchange into another: both queues and the exchange."""
    exchange, dead = make_exchange(http, name("dlx"), "fanout"), make_queue(http, name("dead"))
    bind(http, exchange, dead, "")
    return make_queue(http, name("work"), dead_letter_exchange=exchange), dead, exchange


def browse(http: httpx2.Client, queue: str, query: str = "") -> list[Json]:
    """All the messages, over as many pages as it takes."""
    found: list[Json] = []
    after = ""
    while True:
        page = http.get(f"/v1/queues/{queue}/messages?{query}&after={after}")
        assert page.status_code == 200, page.text
        found += page.json()["messages"]
        after = page.json()["next"]
        if after is None:
            return found


def bodies(messages: list[Json]) -> list[str]:
    return [message["body"] for message in messages]


def get(http: httpx2.Client, queue: str, id_: str) -> Json:
    answer = http.get(f"/v1/queues/{queue}/messages/{id_}")
    assert answer.status_code == 200, answer.text
    message: Json = answer.json()
    return message


def in_every_state(http: httpx2.Client, queue: str) -> dict[str, str]:
    """A queue with one message in each state; their ids by state."""
    make_queue(http, queue)
    dead, leased = put(http, queue, "dead", "leased")
    settle(http, queue, "nack", receive_one(http, queue)["receipt"], requeue=False, reason="no good")
    receive_one(http, queue, consumer="worker-1", lease_seconds=600)
    (ready,) = put(http, queue, "ready")
    (delayed,) = put(http, queue, "delayed", delay_seconds=600)
    return {"ready": ready, "delayed": delayed, "leased": leased, "dead": dead}
