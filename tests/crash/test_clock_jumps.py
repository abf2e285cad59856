"""The wall clock of a running broker is set an hour ahead or back: nothing is due by it, and nothing waits for it."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.server import Server
from tests.support.wall import Wall

HOUR = 3600
LONG = 600  # what must not fall due, though the wall clock says that it is
SHORT = 0.8  # what must, in its time: not an hour later


@pytest.fixture
def wall(tmp_path: Path) -> Wall:
    return Wall(tmp_path)


@pytest.fixture
def server(tmp_path: Path, wall: Wall) -> Iterator[Server]:
    server = Server(tmp_path / "data", python=wall.python)
    try:
        yield server.start()
    finally:
        server.close()


class Life:
    """Queues of what is long and what is short: a lease, a delay, a time to live of each."""

    def __init__(self, http: httpx2.Client) -> None:
        self.http = http
        self.count = 0
        for name in ("order", "lease", "delay", "ttl"):
            assert http.put(f"/v1/queues/{name}", json={}).status_code == 201

    def publish(self, queue: str, body: str, **options: Any) -> None:
        answer = self.http.post(f"/v1/queues/{queue}/messages", content=body, params=options)
        assert answer.status_code == 201

    def take(self, queue: str, **options: Any) -> list[dict[str, Any]]:
        answer = self.http.post(f"/v1/queues/{queue}/receive", json={"max_messages": 100, **options})
        messages: list[dict[str, Any]] = answer.json()["messages"]
        return messages

    def begin(self) -> dict[str, Any]:
        """All of it at once; returns the message under the long lease."""
        self.go_on()
        self.publish("lease", "long")
        (held,) = self.take("lease", lease_seconds=LONG)
        self.publish("lease", "short")
        self.take("lease", lease_seconds=SHORT)
        for name, seconds in (("long", LONG), ("short", SHORT)):
            self.publish("ttl", name, ttl_seconds=seconds)
            self.publish("delay", name, delay_seconds=seconds)
        return held

    def go_on(self) -> None:
        """Some more of what is to be in order."""
        for _ in range(3):
            self.publish("order", str(self.count))
            self.count += 1

    def stats(self, queue: str) -> dict[str, int]:
        stats: dict[str, int] = self.http.get(f"/v1/queues/{queue}").json()["stats"]
        return stats

    def check_long(self) -> None:
        """Nothing of what is long fell due."""
        assert self.stats("lease")["leased"] >= 1
        assert self.stats("delay")["delayed"] >= 1
        assert self.stats("ttl")["ready"] >= 1

    def check_short(self) -> None:
        """What is short falls due in its time: a receive that waits for less than that hour sees it."""
        for queue in ("lease", "delay"):
            assert [message["body"] for message in self.take(queue, wait_seconds=20)] == ["short"]
        assert self.stats("ttl")["expired"] == 1

    def check_order(self) -> None:
        """All in the order in which it was published, with times that never step back."""
        messages = self.take("order")
        assert [message["body"] for message in messages] == [str(n) for n in range(self.count)]
        times = [datetime.fromisoformat(message["published_at"]) for message in messages]
        assert times == sorted(times)
        assert [message["id"] for message in messages] == sorted(message["id"] for message in messages)


@pytest.mark.parametrize(
    "jumps",
    [
        pytest.param((HOUR, -HOUR, HOUR), id="to and fro"),
        pytest.param((HOUR,), id="ahead", marks=pytest.mark.slow),
        pytest.param((-HOUR,), id="back", marks=pytest.mark.slow),
    ],
)
def test_what_is_due_by_the_wall_clock_only_is_not_due(
    server: Server, http: httpx2.Client, wall: Wall, jumps: tuple[int, ...]
) -> None:
    life = Life(http)
    held = life.begin()
    for jump in jumps:
        wall.set(jump)
        life.go_on()
        life.check_long()
    life.check_short()
    life.check_long()
    life.check_order()
    answer = http.post("/v1/queues/lease/ack", json={"receipts": [held["receipt"]]}).json()
    assert answer == {"acked": 1, "failed": []}


def test_a_start_with_the_wall_clock_an_hour_back_goes_on_where_it_was(
    server: Server, http: httpx2.Client, wall: Wall
) -> None:
    """Leases last on, delays end in their time and not an hour later, times do not step back."""
    life = Life(http)
    held = life.begin()
    wall.set(-HOUR)
    server.restart()
    life.go_on()
    life.check_long()
    life.check_short()
    life.check_order()
    assert http.post("/v1/queues/lease/ack", json={"receipts": [held["receipt"]]}).json()["acked"] == 1


@pytest.mark.slow
def test_a_start_with_the_wall_clock_an_hour_ahead_is_an_hour_later(
    server: Server, http: httpx2.Client, wall: Wall
) -> None:
    """As after an hour's rest, which nobody can tell from this: what fell due meanwhile is done, and nothing else."""
    life = Life(http)
    held = life.begin()
    wall.set(HOUR)
    server.restart()
    life.go_on()
    assert {message["body"] for message in life.take("lease")} == {"long", "short"}
    assert {message["body"] for message in life.take("delay")} == {"long", "short"}
    assert life.stats("ttl")["expired"] == 2
    answer = http.post("/v1/queues/lease/ack", json={"receipts": [held["receipt"]]}).json()
    assert answer["failed"][0]["code"] == "lease-lost", "the newest lease fences"
    # Set right again, it runs slower for a while, and does not step back.
    wall.set(0)
    server.restart()
    life.go_on()
    life.check_order()
